"""Exact top-k by blocked matrix products. Pure: arrays in, arrays out; knows no store, no rule and no Ray.

Legend: Q = queries, N = documents, D = width, K = kept per query, G = columns per group.

A tile of scores is read once: the largest score of every group of columns is compared with what the query's K-th best
is so far, and only the groups that beat it are looked into. On one core that costs 0.3 ns per score beside the 7 ns of
the product (D = 384), where `torch.topk` costs 4 to 8 ns.

Ranks are those of exact arithmetic, ties by document number: scores closer than a float32 product can tell apart are
computed again in float64. So the answer depends neither on the tiles nor on the threads.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyglossa.mine.device_search import EXTRA, find_candidates
from polyglossa.mine.documents import READ_DOCUMENTS, Documents, Floats, Ints

TILE_QUERIES = 512
TILE_DOCUMENTS = 4096
_GROUP = 16
_RESCORE_PAIRS = 16_384


@dataclass(frozen=True)
class Ranked:
    """The best documents of every query, best first; ties by document number."""

    document_QK: Ints
    """Document numbers; −1 where a query has fewer than K candidates."""
    score_QK: Floats
    """Dot products; −inf where there is no document."""


def search(query_QD: Floats, documents: Documents, k: int, *, dtype: str = "float32", device: str = "cpu") -> Ranked:
    """Find the k documents of the largest dot product for every query.

    Args:
        query_QD: query vectors, unit length.
        documents: candidates, unit length; each block is read once.
        k: documents kept per query.
        dtype: precision of the products. With `bfloat16` whatever comes within its rounding of the k best (on a GPU
            the best k + 64) is scored again in float32, so only a document that bfloat16 puts far below its place can
            be missed.
        device: torch device of the products; a GPU takes the way of `device_search.py`.

    Returns:
        Ranks as exact arithmetic gives them on the float32 vectors (within `dtype`'s promise above).

    Raises:
        ValueError: k is not positive.
    """
    if k < 1:
        raise ValueError(f"k: {k} is not ≥ 1")
    precision = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    if torch.device(device).type != "cpu":
        candidates = find_candidates(query_QD, documents, k + EXTRA, precision=precision, device=device)
        return settle(query_QD, documents, k, *candidates)
    slack = _slack(query_QD.shape[1], precision)
    tiles = [
        (slice(start, start + TILE_QUERIES), _Best(min(TILE_QUERIES, len(query_QD) - start), k, slack))
        for start in range(0, len(query_QD), TILE_QUERIES)
    ]
    query = torch.from_numpy(query_QD).to(device, precision)
    for first, block_BD in _blocks(documents, precision, device):
        for rows, best in tiles:
            best.offer(query[rows], block_BD, first)
    return _joined([best.ranked(query_QD[rows], documents, everything=dtype != "float32") for rows, best in tiles], k)


def settle(query_QD: Floats, documents: Documents, k: int, score_QC: Floats, document_QC: Ints) -> Ranked:
    """Rank candidates that were scored in float32; what float32 cannot tell apart, in float64.

    Args:
        query_QD: query vectors.
        documents: what was searched.
        k: documents kept per query.
        score_QC: scores of the candidates.
        document_QC: their numbers, −1 where there is none.
    """
    slack, answers = _slack(query_QD.shape[1], torch.float32), []
    for start in range(0, len(query_QD), TILE_QUERIES):
        rows = slice(start, start + TILE_QUERIES)
        best = _Best(len(query_QD[rows]), k, slack)
        row, place = (document_QC[rows] >= 0).nonzero()
        if len(row):
            best.parts = [(row, score_QC[rows][row, place], document_QC[rows][row, place])]
        answers.append(best.ranked(query_QD[rows], documents, everything=False))
    return _joined(answers, k)


def _joined(answers: list[Ranked], k: int) -> Ranked:
    if not answers:
        return Ranked(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    return Ranked(
        np.concatenate([answer.document_QK for answer in answers]),
        np.concatenate([answer.score_QK for answer in answers]),
    )


def _slack(width: int, precision: torch.dtype) -> float:
    """Largest difference of two computed scores whose true order may be the other one, for unit vectors.

    float32: 2·D·u, the rounding bound of a dot product (Higham, Accuracy and Stability, §3.1), u = 2⁻²⁴.
    bfloat16: one unit of a score in [0.5, 1); the errors of its factors largely cancel over D terms.
    """
    return 2 * width * 2.0**-24 if precision == torch.float32 else 2.0**-8


def _blocks(documents: Documents, precision: torch.dtype, device: str) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(documents), READ_DOCUMENTS):
        stop = min(start + READ_DOCUMENTS, len(documents))
        block = torch.from_numpy(np.ascontiguousarray(documents.block(start, stop))).to(device, precision)
        for first in range(0, len(block), TILE_DOCUMENTS):
            yield start + first, block[first : first + TILE_DOCUMENTS]


class _Best:
    """What a tile of queries has found so far: a flat heap of (query, score, document), and a bar for newcomers."""

    def __init__(self, queries: int, k: int, slack: float) -> None:
        self.queries, self.k, self.slack = queries, k, slack
        self.bar_Q = np.full(queries, -np.inf, np.float32)
        self.pending = 0
        self.parts: list[tuple[Ints, Floats, Ints]] = []

    def offer(self, query_QD: Tensor, block_BD: Tensor, first: int) -> None:
        """Score a block of documents, the first of which has number `first`, and keep what beats the bar."""
        score_QB = _score(query_QD, block_BD)
        group_QGg = score_QB.view(self.queries, _GROUP, -1)  # a group is every (B / G)-th column: the maximum is SIMD
        largest_Qg = group_QGg.amax(dim=1).float()
        if not self.parts and largest_Qg.shape[1] >= self.k:
            # The k-th largest of the groups' maxima is at most the k-th largest score: a first bar for free.
            self.bar_Q = largest_Qg.topk(self.k, dim=1).values[:, -1].cpu().numpy() - np.float32(self.slack)
        bar_Q1 = torch.from_numpy(self.bar_Q).to(largest_Qg.device)[:, None]
        row_H, group_H = (largest_Qg >= bar_Q1).nonzero(as_tuple=True)
        score_HG = group_QGg[row_H, :, group_H].float()
        hit, lane = (score_HG >= bar_Q1[row_H]).nonzero(as_tuple=True)
        column = lane * group_QGg.shape[2] + group_H[hit]
        real = column < len(block_BD)  # the rest is padding
        hit, lane, column = hit[real], lane[real], column[real]
        self.parts.append((row_H[hit].cpu().numpy(), score_HG[hit, lane].cpu().numpy(), (column + first).cpu().numpy()))
        self.pending += len(hit)
        if self.pending > self.queries * self.k:
            self._merge()

    def _merge(self) -> tuple[Ints, Floats, Ints, Ints]:
        """Sort what was found, raise the bar, forget what is below; returns query, score, document, rank."""
        row, score, document = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        order = np.argsort(_sort_key(row, score), kind="stable")
        row, score, document = row[order], score[order], document[order]
        start_Q = np.searchsorted(row, np.arange(self.queries))
        rank = np.arange(len(row)) - start_Q[row]
        kth = rank == self.k - 1
        self.bar_Q[row[kth]] = np.maximum(self.bar_Q[row[kth]], score[kth] - np.float32(self.slack))
        keep = score >= self.bar_Q[row]
        row, score, document, rank = row[keep], score[keep], document[keep], rank[keep]
        self.parts, self.pending = [(row, score, document)], 0
        return row, score, document, rank

    def ranked(self, query_QD: Floats, documents: Documents, everything: bool) -> Ranked:
        """Settle the order of what cannot be told apart (or of everything) in float64 and lay it out by rank."""
        answer = Ranked(
            np.full((self.queries, self.k), -1, np.int64), np.full((self.queries, self.k), -np.inf, np.float32)
        )
        if not self.parts:
            return answer
        row, score, document, rank = self._merge()
        exact = score.astype(np.float64)
        close = np.append((np.diff(row) == 0) & (everything | (-np.diff(exact) <= self.slack)), False)
        after = np.append(False, close[:-1])
        unsettled = np.flatnonzero(close | after)
        _rescore(exact, unsettled, row, document, query_QD, documents)
        run = np.cumsum(~after)[unsettled]  # neighbours that are too close share a run
        order = unsettled[np.lexsort((document[unsettled], -exact[unsettled], run))]
        document[unsettled], exact[unsettled] = document[order], exact[order]
        top = rank < self.k
        answer.document_QK[row[top], rank[top]] = document[top]
        answer.score_QK[row[top], rank[top]] = exact[top]
        return answer


def _score(query_QD: Tensor, block_BD: Tensor) -> Tensor:
    """Dot products of a tile, [Q, B] with B padded to whole groups by −inf."""
    score_QB = query_QD @ block_BD.T
    missing = -len(block_BD) % _GROUP
    return torch.nn.functional.pad(score_QB, (0, missing), value=-torch.inf) if missing else score_QB


def _sort_key(row: Ints, score: Floats) -> npt.NDArray[np.uint64]:
    """One integer that orders by query, then by score from high to low."""
    bits = (score + np.float32(0)).view(np.int32).astype(np.int64)  # + 0 makes −0 and 0 one number
    ascending = np.where(bits < 0, ~bits & 0xFFFFFFFF, bits | 0x80000000)
    return (row.astype(np.uint64) << np.uint64(32)) | (0xFFFFFFFF - ascending).astype(np.uint64)


def _rescore(
    exact: npt.NDArray[np.float64], which: Ints, row: Ints, document: Ints, query_QD: Floats, documents: Documents
) -> None:
    for start in range(0, len(which), _RESCORE_PAIRS):
        pairs = which[start : start + _RESCORE_PAIRS]
        left, right = query_QD[row[pairs]].astype(np.float64), documents.take(document[pairs]).astype(np.float64)
        exact[pairs] = np.einsum("nd,nd->n", left, right)
