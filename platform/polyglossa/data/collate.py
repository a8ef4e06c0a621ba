"""From the examples of a step to what each rank receives.

`gather_examples` reads the step's rows out of their bundles, keeps each distinct text once and chooses the step's
negatives; `rank_payloads` lays the texts out for a number of ranks and packs each rank's part as plain arrays
(safetensors bytes: no pickle), which `stream.unpack` reads. No torch here: Ray's data workers stay light.

Legend: T distinct texts in table order, Q examples, N chosen negatives, C = 1 + N candidates, E teacher width used,
S chunk slots of a rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from polyglossa.data.bundles import Bundle, BundleReader
from polyglossa.data.counter_rng import permutation
from polyglossa.data.layout import Ints, chunk_texts, deal
from polyglossa.data.plan import Plan
from polyglossa.data.plan_types import StepPlan


@dataclass(frozen=True)
class GlobalBatch:
    """The examples of one step, free of ranks. Indices address the texts."""

    plan: StepPlan
    tokens: NDArray[np.uint32]
    """Token ids of the texts, one after another."""
    length_T: Ints
    query_Q: Ints
    positive_Q: Ints
    negatives_QN: Ints
    group_Q: Ints
    source_Q: Ints
    positive_score_Q: NDArray[np.float32]
    teacher_TE: NDArray[np.floating[Any]] | None
    score_Q: NDArray[np.float32] | None = None
    candidate_score_QC: NDArray[np.float32] | None = None
    """[Q, 1 + N]: a re-scorer's scores of the positive and of the chosen negatives."""


@dataclass(frozen=True)
class _Slice:
    """The rows taken from one bundle, and the texts they use."""

    bundle: Bundle
    source: int
    rows: Ints
    text: Ints
    """Bundle texts in use, ascending."""
    query_Q: Ints
    positive_Q: Ints
    negatives_QN: Ints
    candidate_score_QC: NDArray[np.float32] | None


def gather_examples(plan: Plan, step: StepPlan, reader: BundleReader) -> GlobalBatch:
    """Read a step's examples: each distinct text once, negatives chosen.

    Args:
        plan: names the sources.
        step: the step's rows.
        reader: where bundles are read.
    """
    bundles = [reader.read(plan.sources[part.source].name, part.bundle) for part in step.parts]
    chosen = _choose_negatives(step, bundles)
    slices = [
        _slice(part.source, part.rows, bundle, ranks)
        for part, bundle, ranks in zip(step.parts, bundles, chosen, strict=True)
    ]
    _, first_T, text_of = np.unique(
        np.concatenate([s.bundle.text_ids[s.text] for s in slices]), return_index=True, return_inverse=True
    )
    # Table numbers follow first appearance, so they do not depend on how text ids sort.
    order = np.argsort(first_T, kind="stable")
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    text_of, first_T = number[text_of], first_T[order]
    tokens, length = _tokens(slices, first_T)
    offsets = np.cumsum([0] + [len(s.text) for s in slices])
    tables = [text_of[start:stop] for start, stop in pairwise(offsets)]
    return GlobalBatch(
        plan=step,
        tokens=tokens,
        length_T=length,
        query_Q=np.concatenate([t[s.query_Q] for t, s in zip(tables, slices, strict=True)]),
        positive_Q=np.concatenate([t[s.positive_Q] for t, s in zip(tables, slices, strict=True)]),
        negatives_QN=np.concatenate(
            [np.where(s.negatives_QN < 0, -1, t[s.negatives_QN]) for t, s in zip(tables, slices, strict=True)]
        ),
        group_Q=np.concatenate([s.bundle.group_Q[s.rows] for s in slices]),
        source_Q=np.concatenate([np.full(len(s.rows), s.source) for s in slices]),
        positive_score_Q=np.concatenate([s.bundle.positive_score_Q[s.rows] for s in slices]),
        teacher_TE=_teacher(slices, first_T),
        score_Q=_scores(slices),
        candidate_score_QC=_candidate_scores(slices),
    )


def rank_payloads(batch: GlobalBatch, ranks: Sequence[int], world: int, chunk_tokens: int) -> list[bytes]:
    """Lay a global batch out for `world` ranks and pack what each of `ranks` receives.

    Args:
        batch: the step's examples.
        ranks: which ranks are packed.
        world: number of ranks.
        chunk_tokens: token budget of a chunk.
    """
    chunks = chunk_texts(batch.length_T, chunk_tokens)
    dealt = deal(chunks, world)
    table_of = np.empty_like(chunks.order_T)
    table_of[chunks.order_T] = np.arange(len(chunks.order_T))
    length_T = batch.length_T[chunks.order_T]
    start_T = (np.cumsum(batch.length_T) - batch.length_T)[chunks.order_T]
    shared = {
        "step": np.array([batch.plan.step, world, batch.plan.seed], dtype=np.int64),
        "texts": np.array([len(length_T), dealt.rows_per_rank], dtype=np.int64),
        "sizes": np.array([batch.length_T.sum(), chunks.padded_tokens, batch.plan.in_batch], dtype=np.int64),
        "source": np.frombuffer(batch.plan.source.encode(), dtype=np.uint8),
        "task": np.frombuffer(batch.plan.task.encode(), dtype=np.uint8),
        "gather": dealt.gather_T.astype(np.int32),
        "query": table_of[batch.query_Q].astype(np.int32),
        "positive": table_of[batch.positive_Q].astype(np.int32),
        "negatives": np.where(batch.negatives_QN < 0, -1, table_of[batch.negatives_QN]).astype(np.int32),
        "group": batch.group_Q,
        "example_source": batch.source_Q.astype(np.int32),
        "positive_score": batch.positive_score_Q,
    }
    if batch.teacher_TE is not None:
        shared["teacher"] = batch.teacher_TE[chunks.order_T]
    if batch.score_Q is not None:
        shared["score"] = batch.score_Q
    if batch.candidate_score_QC is not None:
        shared["candidate_score"] = batch.candidate_score_QC
    payloads = []
    for rank in ranks:
        own = [chunks.rows(chunk) for chunk in dealt.chunk_WS[rank]]
        rows = np.concatenate(own)
        payload = shared | {
            "rank": np.array([rank], dtype=np.int64),
            "chunks": dealt.chunk_WS[rank].astype(np.int32),
            "chunk_texts": np.array([len(r) for r in own], dtype=np.int32),
            "own": rows.astype(np.int32),
            "lengths": length_T[rows].astype(np.int32),
            "tokens": _gather_ranges(batch.tokens, start_T[rows], length_T[rows]),
        }
        payloads.append(save({name: np.ascontiguousarray(value) for name, value in payload.items()}))
    return payloads


def _choose_negatives(step: StepPlan, bundles: list[Bundle]) -> list[Ints]:
    """Each part's negatives as [rows, N] places among a row's mined ones, -1 where a row has no more.

    One random order of the mined ranks holds for the whole batch (as published): a row takes the first N ranks of that
    order that it has, so rows with fewer negatives still use all they can.
    """
    counts = [np.diff(b.negative_offsets)[p.rows] for p, b in zip(step.parts, bundles, strict=True)]
    most = max(int(count.max(initial=0)) for count in counts)
    taken = min(step.negatives, most)
    order = permutation(most, step.seed, "negatives")
    return [_take(count, order, taken) for count in counts]


def _take(count_Q: Ints, order: Ints, taken: int) -> Ints:
    if not taken:
        return np.empty((len(count_Q), 0), dtype=np.int64)
    absent_QM = order[None, :] >= count_Q[:, None]
    first_QN = np.argsort(absent_QM, axis=1, kind="stable")[:, :taken]
    rank_QN = order[first_QN]
    return np.where(rank_QN < count_Q[:, None], rank_QN, -1)


def _slice(source: int, rows: Ints, bundle: Bundle, rank_QN: Ints) -> _Slice:
    there_QN = rank_QN >= 0
    at_QN = np.where(there_QN, bundle.negative_offsets[rows][:, None] + rank_QN, 0)
    negatives_QN = np.where(there_QN, bundle.negatives[at_QN] if len(bundle.negatives) else -1, -1)
    query, positive = bundle.query_Q[rows], bundle.positive_Q[rows]
    used = np.zeros(len(bundle.text_ids), dtype=bool)
    used[query] = used[positive] = True
    used[negatives_QN[negatives_QN >= 0]] = True
    text = np.flatnonzero(used)
    local = np.cumsum(used) - 1
    negatives = np.where(negatives_QN < 0, -1, local[negatives_QN])
    scores = _rescored(bundle, rows, rank_QN)
    return _Slice(bundle, source, rows, text, local[query], local[positive], negatives, scores)


def _rescored(bundle: Bundle, rows: Ints, rank_QN: Ints) -> NDArray[np.float32] | None:
    """A re-scorer's scores of rows: of the positive, then of the chosen negatives, NaN where there is none."""
    if bundle.candidate_scores is None:
        return None
    first_Q1 = (bundle.negative_offsets[rows] + rows)[:, None]
    at_QC = np.concatenate([first_Q1, first_Q1 + 1 + rank_QN], axis=1)  # rank −1 reads the positive, and is put right
    scores_QC = bundle.candidate_scores[at_QC]
    scores_QC[:, 1:][rank_QN < 0] = np.nan
    return scores_QC


def _tokens(slices: list[_Slice], first_T: Ints) -> tuple[NDArray[np.uint32], Ints]:
    """Token ids and lengths of the distinct texts, in table order."""
    parts, lengths = [], []
    for piece in slices:
        offsets = piece.bundle.token_offsets
        length = offsets[piece.text + 1] - offsets[piece.text]
        parts.append(_gather_ranges(piece.bundle.tokens, offsets[piece.text], length))
        lengths.append(length)
    length = np.concatenate(lengths)
    starts = np.cumsum(length) - length
    return _gather_ranges(np.concatenate(parts), starts[first_T], length[first_T]), length[first_T]


def _teacher(slices: list[_Slice], first_T: Ints) -> NDArray[np.floating[Any]] | None:
    states = [s.bundle.teacher_TE[s.text] for s in slices if s.bundle.teacher_TE is not None]
    return np.concatenate(states)[first_T] if states else None


def _scores(slices: list[_Slice]) -> NDArray[np.float32] | None:
    scores = [s.bundle.score_Q[s.rows] for s in slices if s.bundle.score_Q is not None]
    return np.concatenate(scores) if scores else None


def _candidate_scores(slices: list[_Slice]) -> NDArray[np.float32] | None:
    """Of all rows; NaN in rows of packs, or parts of one, that were not re-scored."""
    if all(s.candidate_score_QC is None for s in slices):
        return None
    return np.concatenate(
        [
            np.full((len(s.rows), 1 + s.negatives_QN.shape[1]), np.nan, np.float32)
            if s.candidate_score_QC is None
            else s.candidate_score_QC
            for s in slices
        ]
    )


def _gather_ranges(values: NDArray[Any], starts: Ints, lengths: Ints) -> NDArray[Any]:
    """Concatenate values[start : start + length] of many ranges at once."""
    before = np.cumsum(lengths) - lengths
    return values[np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))]
