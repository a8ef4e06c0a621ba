"""Let a chat endpoint write the questions that documents without queries lack: one a passage, kept as they come.

What it writes is a stand-in: the held-out part is written by it too, so scores tell how well such questions are found,
not those of people. The file goes on where it stopped.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from polyglossa.errors import EndpointError, UserError
from polyglossa.recipe.outside import check_address
from polyglossa.scaffold.own.prepare import LEAST_QUERIES

MOST_PASSAGES = 5000
_PATIENCE_SECONDS = 120.0
_ASK = (
    "Write one question that a person would ask and that the following passage answers. Write it in the language of "
    "the passage, in other words than the passage uses, and nothing but the question.\n\n"
)
_BUSY = (408, 409, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class ChatEndpoint:
    """An OpenAI-compatible chat endpoint."""

    url: str
    """Base URL, `/v1` included."""
    model: str
    """Name that it knows."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with its key."""
    in_flight: int = 4
    transport: httpx.BaseTransport | None = None
    """How requests travel; tests pass their own."""


class _NotNow(Exception):
    """The endpoint may answer later."""


def write_questions(
    passages: Sequence[str], endpoint: ChatEndpoint, target: Path, tell: Callable[[str], None] = lambda line: None
) -> Path:
    """Write a file of questions and the passages that answer them, an object a line.

    Args:
        passages: what is asked about; the first 5,000 are.
        endpoint: who writes.
        target: the file; passages that it holds already are not asked about again.
        tell: takes a line about the progress.

    Raises:
        UserError: there are too few passages to hold some out.
        EndpointError: it refuses, or does not answer.
    """
    if len(passages) < LEAST_QUERIES:
        raise UserError(
            f"{len(passages)} passages are too few to learn from and to judge by; at least {LEAST_QUERIES} are needed."
        )
    try:
        check_address(endpoint.url)
    except ValueError as error:
        raise UserError(f"--endpoint {error}") from None
    known = {row["answer"] for row in _rows(target)}
    missing = [passage for passage in passages[:MOST_PASSAGES] if passage not in known]
    tell(f"{endpoint.model} at {endpoint.url} writes {len(missing):,} questions into {target}")
    key = os.environ.get(endpoint.key_variable)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    address = f"{endpoint.url.rstrip('/')}/chat/completions"
    with (
        httpx.Client(headers=headers, timeout=60.0, transport=endpoint.transport) as client,
        ThreadPoolExecutor(endpoint.in_flight, "questions") as pool,
        target.open("a", encoding="utf-8") as stream,
    ):
        asked = pool.map(lambda passage: _ask(client, address, endpoint.model, passage), missing)
        for passage, question in zip(missing, asked, strict=True):
            if question:
                stream.write(json.dumps({"question": question, "answer": passage}, ensure_ascii=False) + "\n")
                stream.flush()
    return target


def _rows(target: Path) -> Iterator[dict[str, str]]:
    if target.exists():
        for line in target.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def _ask(client: httpx.Client, address: str, model: str, passage: str) -> str:
    """Ask for one question; empty where the answer is none."""
    body = {"model": model, "messages": [{"role": "user", "content": _ASK + passage}], "temperature": 0.7}
    patient = Retrying(
        retry=retry_if_exception_type(_NotNow),
        stop=stop_after_delay(_PATIENCE_SECONDS),
        wait=wait_exponential_jitter(initial=0.5, max=20),
        reraise=True,
    )
    try:
        text = patient(_answer, client, address, body)
    except _NotNow as error:
        raise EndpointError(f"{address}: {error}, for {_PATIENCE_SECONDS:.0f} s; run the same command later.") from None
    lines = [line.strip(" \t\"'*-") for line in re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL).splitlines()]
    return next((line for line in lines if line), "")


def _answer(client: httpx.Client, address: str, body: dict[str, object]) -> str:
    try:
        response = client.post(address, json=body)
    except httpx.HTTPError as error:
        raise _NotNow(f"cannot be reached ({type(error).__name__})") from None
    if response.status_code in _BUSY:
        raise _NotNow(f"answers {response.status_code}")
    if response.status_code != 200:
        said = " ".join(response.text.split())[:200]
        raise EndpointError(f"{address}: refuses with {response.status_code}: {said}")
    try:
        return str(response.json()["choices"][0]["message"]["content"] or "")
    except (ValueError, KeyError, IndexError, TypeError):
        raise EndpointError(f"{address}: its answer is no chat completion: {response.text[:120]!r}") from None
