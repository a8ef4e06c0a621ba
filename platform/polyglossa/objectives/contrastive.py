"""Contrastive terms of F2LLM-v2 (arXiv 2603.19223): a query against its own negatives, and against the whole batch.

Q = queries, N = negatives of a query, P = candidates, C = further candidates, D = width. Inputs are raw states;
similarity is their cosine.
Both terms are the cross-entropy of the positive, −log(e^{s⁺/τ} / Σ e^{s/τ}), averaged over the queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils.checkpoint import checkpoint

BLOCK_ROWS = 1024


@dataclass(frozen=True)
class FurtherCandidates:
    """Candidates that join the denominator of a row beside the batch's positives; none of them is a positive."""

    row_QD: Tensor
    """Raw states that they are compared with: of the row's query, or of its positive."""
    candidate_CD: Tensor
    excluded_QC: Tensor | None
    """True where a candidate is left out."""


def hard_negative_loss(
    query_QD: Tensor,
    positive_QD: Tensor,
    negative_QND: Tensor,
    *,
    temperature: float | Tensor,
    valid_QN: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of each query's positive against the query's own negatives.

    Args:
        query_QD: raw states of the queries.
        positive_QD: raw states of their positives.
        negative_QND: raw states of their negatives.
        temperature: softmax temperature τ.
        valid_QN: False where a query has fewer negatives; a query with none adds 0. None means all are there.

    Returns:
        Mean over the queries (scalar).
    """
    query_QD = normalize(query_QD, dim=-1)
    positive_Q1 = (query_QD * normalize(positive_QD, dim=-1)).sum(-1, keepdim=True)
    negative_QN = torch.einsum("qd,qnd->qn", query_QD, normalize(negative_QND, dim=-1))
    logits_QC = torch.cat([positive_Q1, negative_QN], dim=1) / temperature
    if valid_QN is not None:  # after the division: a learned temperature must not meet an infinity
        logits_QC[:, 1:].masked_fill_(~valid_QN, -torch.inf)
    return cross_entropy(logits_QC, torch.zeros(len(logits_QC), dtype=torch.int64, device=logits_QC.device))


def in_batch_loss(
    query_QD: Tensor,
    candidate_PD: Tensor,
    positive_Q: Tensor,
    *,
    temperature: float | Tensor,
    excluded_QP: Tensor | None = None,
    block_rows: int = BLOCK_ROWS,
    further: Sequence[FurtherCandidates] = (),
) -> Tensor:
    """Cross-entropy of each query's positive against the candidates of the batch.

    Logits exist for `block_rows` queries at a time, in the backward pass too, so memory grows with P, not with Q × P.

    Args:
        query_QD: raw states of the queries.
        candidate_PD: raw states of the candidates; detach them for the published, query-side-only gradient.
        positive_Q: index of each query's positive among the candidates.
        temperature: softmax temperature τ.
        excluded_QP: True where a candidate is left out; must be False at the positive.
        block_rows: queries per block.
        further: what stands in the denominator besides.

    Returns:
        Mean over the queries (scalar).
    """
    query_QD, candidate_PD = normalize(query_QD, dim=-1), normalize(candidate_PD, dim=-1)
    more = [(normalize(one.row_QD, dim=-1), normalize(one.candidate_CD, dim=-1), one.excluded_QC) for one in further]
    if len(query_QD) <= block_rows:
        return _block_sum(query_QD, candidate_PD, positive_Q, temperature, excluded_QP, more) / len(query_QD)
    total = query_QD.new_zeros(())
    for start in range(0, len(query_QD), block_rows):
        rows = slice(start, start + block_rows)
        excluded_BP = None if excluded_QP is None else excluded_QP[rows]
        beside = [(row_QD[rows], other, None if out is None else out[rows]) for row_QD, other, out in more]
        block = (query_QD[rows], candidate_PD, positive_Q[rows], temperature, excluded_BP, beside)
        total = total + checkpoint(_block_sum, *block, use_reentrant=False)
    return total / len(query_QD)


def _block_sum(
    query_BD: Tensor,
    candidate_PD: Tensor,
    positive_B: Tensor,
    temperature: float | Tensor,
    excluded_BP: Tensor | None,
    further: Sequence[tuple[Tensor, Tensor, Tensor | None]],
) -> Tensor:
    logits_BP = _logits(query_BD, candidate_PD, temperature, excluded_BP)
    if further:
        parts = [_logits(row_BD, other_CD, temperature, out_BC) for row_BD, other_CD, out_BC in further]
        logits_BP = torch.cat([logits_BP, *parts], dim=1)
    return cross_entropy(logits_BP, positive_B, reduction="sum")


def _logits(row_BD: Tensor, candidate_CD: Tensor, temperature: float | Tensor, excluded_BC: Tensor | None) -> Tensor:
    logits_BC = row_BD @ candidate_CD.T / temperature
    return logits_BC if excluded_BC is None else logits_BC.masked_fill(excluded_BC, -torch.inf)
