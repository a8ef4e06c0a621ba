"""Contrastive terms of F2LLM-v2 (arXiv 2603.19223): a query against its own negatives, and against the whole batch.

Q = queries, N = negatives of a query, P = candidates, D = width. Inputs are raw states; similarity is their cosine.
Both terms are the cross-entropy of the positive, −log(e^{s⁺/τ} / Σ e^{s/τ}), averaged over the queries.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils.checkpoint import checkpoint

BLOCK_ROWS = 1024


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

    Returns:
        Mean over the queries (scalar).
    """
    query_QD, candidate_PD = normalize(query_QD, dim=-1), normalize(candidate_PD, dim=-1)
    if len(query_QD) <= block_rows:
        return _block_sum(query_QD, candidate_PD, positive_Q, temperature, excluded_QP) / len(query_QD)
    total = query_QD.new_zeros(())
    for start in range(0, len(query_QD), block_rows):
        rows = slice(start, start + block_rows)
        excluded_BP = None if excluded_QP is None else excluded_QP[rows]
        block = (query_QD[rows], candidate_PD, positive_Q[rows], temperature, excluded_BP)
        total = total + checkpoint(_block_sum, *block, use_reentrant=False)
    return total / len(query_QD)


def _block_sum(
    query_BD: Tensor,
    candidate_PD: Tensor,
    positive_B: Tensor,
    temperature: float | Tensor,
    excluded_BP: Tensor | None,
) -> Tensor:
    logits_BP = query_BD @ candidate_PD.T / temperature
    if excluded_BP is not None:
        logits_BP = logits_BP.masked_fill(excluded_BP, -torch.inf)
    return cross_entropy(logits_BP, positive_B, reduction="sum")
