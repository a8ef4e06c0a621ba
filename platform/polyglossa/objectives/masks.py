"""False-negative masks for the in-batch loss: candidates left out of a query's denominator.

Q = examples of the global batch; candidate j is the positive of example j. Masks of positives are False on the
diagonal: a query's own positive always stays. C = candidates of another kind (`candidates.py`).
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def known_positives(query_Q: Tensor, positive_Q: Tensor, group_Q: Tensor, source_Q: Tensor | None = None) -> Tensor:
    """Leave out candidates of rows that are known to mean the same, and those of other sources in a pooled batch.

    Two rows mean the same when they share their group, their query, or their positive, or when one's query is the
    other's positive (equal text is equal index).

    Args:
        query_Q: row of the text table that holds each query.
        positive_Q: row of the text table that holds each positive.
        group_Q: group of each row; rows of one group are never each other's negatives.
        source_Q: source of each row of a pooled batch; None where there is one source.

    Returns:
        excluded_QQ: bool, symmetric, False on the diagonal.
    """
    excluded_QQ = _equal(group_Q, group_Q) | _equal(query_Q, query_Q) | _equal(positive_Q, positive_Q)
    crossed_QQ = _equal(query_Q, positive_Q)
    excluded_QQ |= crossed_QQ | crossed_QQ.T
    if source_Q is not None:
        excluded_QQ |= ~_equal(source_Q, source_Q)
    return excluded_QQ.fill_diagonal_(False)


@torch.no_grad()
def above_positive(query_QD: Tensor, positive_QD: Tensor, margin: float) -> Tensor:
    """Leave out candidates that the model itself scores above the query's positive plus a margin (likely positives).

    Args:
        query_QD: raw states of the queries.
        positive_QD: raw states of their positives, which are the candidates.
        margin: added to the positive's cosine.

    Returns:
        excluded_QQ: bool, False on the diagonal.
    """
    score_QQ = normalize(query_QD, dim=-1) @ normalize(positive_QD, dim=-1).T
    return (score_QQ > score_QQ.diagonal()[:, None] + margin).fill_diagonal_(False)


@torch.no_grad()
def above_own(row_QD: Tensor, candidate_CD: Tensor, query_QD: Tensor, positive_QD: Tensor, margin: float) -> Tensor:
    """Leave out candidates of any kind that are scored above query and positive plus a margin.

    Args:
        row_QD: raw states that the candidates are compared with: of the queries, or of their positives.
        candidate_CD: raw states of the candidates.
        query_QD: raw states of the queries.
        positive_QD: raw states of their positives.
        margin: added to the cosine of query and positive.

    Returns:
        excluded_QC: bool.
    """
    own_Q = (normalize(query_QD, dim=-1) * normalize(positive_QD, dim=-1)).sum(-1)
    return normalize(row_QD, dim=-1) @ normalize(candidate_CD, dim=-1).T > own_Q[:, None] + margin


def _equal(left_Q: Tensor, right_Q: Tensor) -> Tensor:
    return left_Q[:, None] == right_Q[None, :]
