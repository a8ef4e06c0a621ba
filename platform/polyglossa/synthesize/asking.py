"""Ask a writer for all that it has not answered yet, through the HTTP processor of `ray.data.llm`.

Requests travel in blocks; each block's answers are kept as soon as it is done, so an endpoint that stops, or a run that
is killed, loses none of what came before.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data
from ray.data.llm import HttpRequestProcessorConfig, build_processor

from polyglossa.answer_store import AnswerStore
from polyglossa.errors import EndpointError, RequestRefused
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.outside.synthetic import Writer
from polyglossa.runtime.console import Bar
from polyglossa.synthesize.session import FAILED, REFUSED, SAID, UNASKED, ChatSession
from polyglossa.synthesize.steps import ANSWER, keys_of

BLOCK_REQUESTS = 32
"""Requests of a block: what a killed run asks again at most, of each worker."""
_WAITS = 0.1  # CPUs of what mostly waits for the network


@dataclass
class Asked:
    """What came of the questions that were asked."""

    calls: int = 0
    tokens: int = 0
    refusals: dict[str, str] = field(default_factory=dict)
    """Key of a prompt, in hex → why the endpoint refuses it."""


def open_answers(root: str, writer: Writer) -> AnswerStore:
    """Open the answers of a writer: named by its model and how it is asked, not by its address."""
    told = repr((writer.model, writer.temperature, writer.answer_tokens))
    return AnswerStore(root, f"writer-{hashlib.blake2b(told.encode(), digest_size=12).hexdigest()}", ANSWER)


def ask_missing(
    prompts: Sequence[str], writer: Writer, store: AnswerStore, placement: StagePlacement, bar: Bar, asked: Asked
) -> None:
    """Ask each prompt that has no answer yet, once, and keep the answers.

    Raises:
        EndpointError: the endpoint stopped; what it had answered is kept.
    """
    distinct = list(dict.fromkeys(prompts))
    held = store.holds(keys_of(distinct))
    missing = [prompt for prompt, there in zip(distinct, held, strict=True) if not there]
    if not missing:
        return
    blocks = [missing[start : start + BLOCK_REQUESTS] for start in range(0, len(missing), BLOCK_REQUESTS)]
    tables = [pa.table({"key": [key.hex() for key in keys_of(block).to_pylist()], "prompt": block}) for block in blocks]
    answers = _processor(writer, placement)(ray.data.from_arrow(tables))
    for batch in answers.iter_batches(batch_format="pyarrow", batch_size=None):
        failure = _keep(batch, store, asked)
        bar.advance(len(batch))
        if failure is not None:
            raise failure
    store.refresh()


def _processor(writer: Writer, placement: StagePlacement) -> Any:
    workers = max(1, min(placement.workers, writer.requests_in_flight))
    config = HttpRequestProcessorConfig(
        url=str(writer.endpoint),
        batch_size=BLOCK_REQUESTS,
        concurrency=workers,
        session_factory=partial(ChatSession, writer, writer.requests_in_flight // workers),
        http_request_stage={"num_cpus": _WAITS},
    )
    waits = {"num_cpus": _WAITS}
    return build_processor(
        config,
        preprocess=partial(_payload, writer),
        postprocess=_answer,
        preprocess_map_kwargs=waits,
        postprocess_map_kwargs=waits,
    )


def _payload(writer: Writer, row: Mapping[str, Any]) -> dict[str, Any]:
    """Write a request's body."""
    body = {
        "model": writer.model,
        "messages": [{"role": "user", "content": row["prompt"]}],
        "temperature": writer.temperature,
        "max_tokens": writer.answer_tokens,
    }
    return {"payload": body}


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    """Take what the session says of a request."""
    return {"key": row["key"], **row["http_response"]}


def _keep(batch: pa.Table, store: AnswerStore, asked: Asked) -> EndpointError | None:
    """Keep a block's answers; returns what ended everything, if something did."""
    rows = batch.to_pylist()
    there = [row for row in rows if row["state"] == SAID]
    keys = pa.array([bytes.fromhex(row["key"]) for row in there], pa.binary(16))
    store.append(keys, pa.array([{"text": row["text"], "cut": row["cut"]} for row in there], ANSWER))
    asked.calls += sum(row["state"] != UNASKED for row in rows)
    asked.tokens += sum(row["tokens"] for row in rows)
    asked.refusals |= {row["key"]: row["text"] for row in rows if row["state"] == REFUSED}
    for row in rows:
        if row["state"] == FAILED:
            kind = RequestRefused if row["exit_code"] == RequestRefused.exit_code else EndpointError
            return kind(f"{row['text']} What was answered is kept; run the same command again to go on.")
    return None
