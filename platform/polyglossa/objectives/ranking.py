"""Figures of a search, one value a query: hit rate at 1 and nDCG@10, with no rank, language or model in sight.

Nothing trains on them; every trial, merge and evaluation without mteb is scored by them. Ties go to no side: a model
that gives every text the same vector gains nothing by it, and one that gives no numbers (NaN) finds nothing.

Q = queries, P = documents, K = ranks that count, D = width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_BLOCK_QUERIES = 2048  # scored at a time


def hit_rate_at_1(query_QD: Tensor, document_PD: Tensor, relevant: Sequence[Sequence[int]]) -> Tensor:
    """Whether the best document of each query answers it.

    Args:
        query_QD: vectors of queries.
        document_PD: vectors of documents; the inner product ranks them.
        relevant: rows of the documents that answer each query.

    Returns:
        score_Q: 0 or 1, float64.
    """
    hit_QK = _hits(best_documents(query_QD, document_PD, 1), relevant)
    return hit_QK[:, 0].double()


def ndcg_at_10(
    query_QD: Tensor,
    document_PD: Tensor,
    relevant: Sequence[Sequence[int]],
    *,
    excluded_QP: Tensor | None = None,
) -> Tensor:
    """Normalised discounted cumulative gain of the ten best documents, all answers alike (Järvelin & Kekäläinen 2002).

    Args:
        query_QD: vectors of queries.
        document_PD: vectors of documents; the inner product ranks them.
        relevant: rows of the documents that answer each query.
        excluded_QP: documents that are left out of a query's search, bool; None leaves out none.

    Returns:
        score_Q: 0 … 1, float64.
    """
    gain_K = 1 / torch.log2(torch.arange(2, 12, dtype=torch.float64))
    hit_QK = _hits(best_documents(query_QD, document_PD, len(gain_K), excluded_QP=excluded_QP), relevant)
    best_Q = gain_K.cumsum(0)[[min(len(rows), len(gain_K)) - 1 for rows in relevant]]
    return (hit_QK * gain_K[: hit_QK.shape[1]]).sum(1) / best_Q


def best_documents(query_QD: Tensor, document_PD: Tensor, count: int, *, excluded_QP: Tensor | None = None) -> Tensor:
    """Search exactly.

    Returns:
        document_QK: rows of the best documents of each query, the best first, −1 where a score is no number or the
        document is left out; fewer than `count` where there are fewer.
    """
    found = [torch.empty(0, min(count, len(document_PD)), dtype=torch.int64)]
    for start in range(0, len(query_QD), _BLOCK_QUERIES):
        score_QP = query_QD[start : start + _BLOCK_QUERIES] @ document_PD.T
        if excluded_QP is not None:
            score_QP = score_QP.masked_fill(excluded_QP[start : start + _BLOCK_QUERIES], -torch.inf)
        best = score_QP.topk(found[0].shape[1], dim=1)
        found.append(best.indices.masked_fill(~best.values.isfinite(), -1))
    return torch.cat(found)


def _hits(document_QK: Tensor, relevant: Sequence[Sequence[int]]) -> Tensor:
    """Which of the documents found answer their query, bool [Q, K]."""
    pairs = zip(document_QK.tolist(), relevant, strict=True)
    hits = [[row in answers for row in found] for found, answers in pairs]
    return torch.tensor(hits, dtype=torch.bool).reshape(document_QK.shape)


MEASURES = {"accuracy": hit_rate_at_1, "ndcg_at_10": ndcg_at_10}
"""By the metric that a held-out set names."""
