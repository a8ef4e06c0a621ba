"""Let a chat endpoint write the questions that documents without queries lack: one a passage, kept as they come.

What it writes is a stand-in: the held-out part is written by it too, so scores tell how well such questions are found,
not those of people. The file goes on where it stopped.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from polyglossa.endpoint.chat import ChatClient, first_line
from polyglossa.endpoint.errors import TextRefused
from polyglossa.errors import UserError
from polyglossa.scaffold.own.prepare import LEAST_QUERIES

MOST_PASSAGES = 5000
_PATIENCE_SECONDS = 120.0
_TEMPERATURE = 0.7
_ASK = (
    "Write one question that a person would ask and that the following passage answers. Write it in the language of "
    "the passage, in other words than the passage uses, and nothing but the question.\n\n"
)


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
        chat = ChatClient(
            endpoint.url,
            endpoint.model,
            key_variable=endpoint.key_variable,
            patience_seconds=_PATIENCE_SECONDS,
            in_flight=endpoint.in_flight,
            transport=endpoint.transport,
        )
    except UserError as error:
        raise UserError(f"--endpoint {error}") from None
    known = {row["answer"] for row in _rows(target)}
    missing = [passage for passage in passages[:MOST_PASSAGES] if passage not in known]
    tell(f"{endpoint.model} at {endpoint.url} writes {len(missing):,} questions into {target}")
    with target.open("a", encoding="utf-8") as stream:
        asked = [_ASK + passage for passage in missing]
        for position, answer in chat.ask_all(asked, temperature=_TEMPERATURE):
            question = "" if isinstance(answer, TextRefused) else first_line(answer.text)
            if question:
                row = {"question": question, "answer": missing[position]}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                stream.flush()
    return target


def _rows(target: Path) -> Iterator[dict[str, str]]:
    if target.exists():
        for line in target.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
