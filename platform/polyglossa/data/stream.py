"""Stream batches as torch tensors without Ray: for single-process training, validation and tests.

The Ray feed makes the same payloads ahead of the trainer and unpacks them with the same `unpack`.

    spec = FeedSpec.of_stage(stage, pack.uri)
    for batch in local_batches(spec, start=resume_step):
        ...
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load

from polyglossa.data.batch import Chunk, RankBatch
from polyglossa.data.bundles import BundleReader
from polyglossa.data.collate import gather_examples, rank_payloads
from polyglossa.data.counter_rng import hash63
from polyglossa.data.feed_spec import BatchMaker, FeedSpec, open_plan, read_sources
from polyglossa.data.layout import DUMMY
from polyglossa.data.plan_types import Part, StepPlan

__all__ = ["FeedSpec", "local_batches", "open_plan", "unpack", "validation_batches"]


def local_batches(
    spec: FeedSpec, *, rank: int = 0, world: int = 1, start: int = 0, stop: int | None = None
) -> Iterator[RankBatch]:
    """Make a rank's batches of steps [start, stop) in this process; `stop` None is the plan's end."""
    batches = BatchMaker(spec)
    for step in range(start, batches.plan.total_steps if stop is None else stop):
        began = time.perf_counter()
        batch = unpack(batches.payloads(step, [rank], world)[0])
        yield replace(batch, wait_seconds=time.perf_counter() - began)


def validation_batches(
    spec: FeedSpec, *, rank: int = 0, world: int = 1, limit: int | None = None
) -> Iterator[RankBatch]:
    """Make a rank's batches of one pass over the validation rows, source after source, in order.

    Args:
        spec: the stage's data; a teacher is not read.
        rank: which rank.
        world: number of ranks.
        limit: most batches of each source; None means all of its rows, the last batch may be smaller.
    """
    plan = open_plan(spec)
    reader = BundleReader(spec.pack_uri, part="validation", cache_bytes=0)
    sizes = {source.name: source.bundle_rows for source in read_sources(spec, "validation")}
    step = 0
    for number, source in enumerate(plan.sources):
        for parts in _in_order(number, sizes[source.name], spec.settings.global_batch)[:limit]:
            seed = hash63(spec.settings.seed, "validation", source.name, step)
            negatives = spec.settings.negatives_of(source.task)
            planned = StepPlan(step, 0, source.name, source.task, source.in_batch, parts, 0, negatives, seed)
            yield unpack(rank_payloads(gather_examples(plan, planned, reader), [rank], world, spec.chunk_tokens)[0])
            step += 1


def unpack(payload: bytes) -> RankBatch:
    """Rebuild a rank's batch from an item of `rank_payloads`."""
    data = load(payload)
    step, world, seed = map(int, data["step"])
    texts, rows_per_rank = map(int, data["texts"])
    tokens, padded_tokens, in_batch = map(int, data["sizes"])
    return RankBatch(
        step=step,
        rank=int(data["rank"][0]),
        world=world,
        source=data["source"].tobytes().decode(),
        task=data["task"].tobytes().decode(),
        in_batch=bool(in_batch),
        chunks=tuple(_chunks(data, seed)),
        texts=texts,
        rows_per_rank=rows_per_rank,
        gather_T=_tensor(data["gather"]),
        own_R=_tensor(data["own"]),
        query_Q=_tensor(data["query"]),
        positive_Q=_tensor(data["positive"]),
        negatives_QN=_tensor(data["negatives"]),
        group_Q=_tensor(data["group"]),
        source_Q=_tensor(data["example_source"]),
        positive_score_Q=torch.from_numpy(data["positive_score"].copy()),
        score_Q=torch.from_numpy(data["score"].copy()) if "score" in data else None,
        candidate_score_QC=torch.from_numpy(data["candidate_score"].copy()) if "candidate_score" in data else None,
        teacher_TE=torch.from_numpy(data["teacher"].copy()) if "teacher" in data else None,
        tokens=tokens,
        padded_tokens=padded_tokens,
    )


def _in_order(source: int, bundle_rows: np.ndarray, size: int) -> list[tuple[Part, ...]]:
    """Batches of `size` rows over a source's bundles, laid end to end."""
    bundle = np.repeat(np.arange(len(bundle_rows)), bundle_rows)
    row = np.arange(len(bundle)) - np.repeat(np.cumsum(bundle_rows) - bundle_rows, bundle_rows)
    batches = []
    for start in range(0, len(bundle), size):
        bundles, rows = bundle[start : start + size], row[start : start + size]
        batches.append(tuple(Part(source, int(b), rows[bundles == b]) for b in np.unique(bundles)))
    return batches


def _chunks(data: dict[str, NDArray[Any]], seed: int) -> Iterator[Chunk]:
    tokens, lengths = _tensor(data["tokens"]), _tensor(data["lengths"])
    own, row, token = data["own"], 0, 0
    for number, texts in zip(data["chunks"].tolist(), data["chunk_texts"].tolist(), strict=True):
        chunk_seed = hash63(seed, "chunk", number)
        if number == DUMMY:
            yield Chunk(torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64), -1, chunk_seed, True)
            continue
        lengths_B = lengths[row : row + texts]
        stop = token + int(lengths_B.sum())
        yield Chunk(tokens[token:stop], lengths_B, int(own[row]), chunk_seed, False)
        row, token = row + texts, stop


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64))
