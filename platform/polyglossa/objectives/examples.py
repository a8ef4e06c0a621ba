"""The examples of a global batch: who is whose query, positive and negative, as rows of the table of its texts.

Q = examples, N = negatives of an example, T = distinct texts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from polyglossa.objectives.masks import known_positives


@dataclass(frozen=True)
class Examples:
    """The examples of a global batch as rows of its text table."""

    query_Q: Tensor
    """int64, the query of each example."""
    positive_Q: Tensor
    """int64, its positive."""
    negatives_QN: Tensor
    """int64, its negatives of this step, −1 where it has fewer; N may be 0."""
    group_Q: Tensor
    """int64; rows of one group are never each other's negatives."""
    in_batch: bool
    """Whether the other rows' positives are negatives (retrieval and bitext)."""
    source_Q: Tensor | None = None
    """int64, the source of each row where several are pooled."""
    score_Q: Tensor | None = None
    """float32, how alike each pair is by its own score (task `sts`), NaN where it has none; None reads no scores."""
    candidate_score_QC: Tensor | None = None
    """float32 [Q, 1 + N], a re-scorer's scores of the positive and the negatives, NaN where it gave none; None where
    mining did not re-score."""
    chosen_P: Tensor | None = None
    """int64, the negatives that are there, row by row; None finds them in `negatives_QN`, which waits for a GPU."""
    document_P: Tensor | None = None
    """int64, positives and negatives, each text once, ascending; None finds them likewise."""

    negative_U: Tensor | None = None
    """int64, the negatives that are there, each text once, ascending; None finds them likewise."""

    @property
    def chosen_negatives(self) -> Tensor:
        """The negatives that are there, row by row."""
        return self.negatives_QN[self.negatives_QN >= 0] if self.chosen_P is None else self.chosen_P

    @property
    def distinct_negatives(self) -> Tensor:
        """The negatives that are there, each text once, ascending."""
        return self.chosen_negatives.unique() if self.negative_U is None else self.negative_U

    @property
    def documents(self) -> Tensor:
        """Positives and negatives, each text once, ascending."""
        if self.document_P is not None:
            return self.document_P
        return torch.cat([self.positive_Q, self.chosen_negatives]).unique()

    def mean_by_role(self, value_T: Tensor) -> Tensor:
        """Sum a per-text value's means over queries, positives and negatives (three means, as published)."""
        total = value_T[self.query_Q].mean() + value_T[self.positive_Q].mean()
        negatives = self.chosen_negatives
        return total + value_T[negatives].mean() if len(negatives) else total

    def known_positives(self) -> Tensor:
        """Return the in-batch candidates that are known to be no negatives, bool [Q, Q] (see `masks.py`)."""
        return known_positives(self.query_Q, self.positive_Q, self.group_Q, self.source_Q)
