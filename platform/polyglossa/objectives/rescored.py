"""Distillation from a re-scorer's stored scores: rank a row's own candidates as who reads both texts does.

The scores are those of the row's positive and negatives, of a cross-encoder or a judge; NaN where it gave none, and
such candidates take no part. The student's scores are cosines.

Q = examples, N = negatives of an example, C = 1 + N candidates, D = width.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def margin_mse(
    query_QD: Tensor,
    positive_QD: Tensor,
    negative_QND: Tensor,
    teacher_QC: Tensor,
) -> Tensor:
    """Mean squared error of the margins positive − negative (Hofstätter et al., arXiv 2010.02666).

    mean over (row, negative) of ((cos(q, p) − cos(q, n)) − (t_p − t_n))²

    Args:
        query_QD: raw states of the queries.
        positive_QD: raw states of their positives.
        negative_QND: raw states of their negatives; any where there is none.
        teacher_QC: scores of the positive and of the negatives, on the scale of cosines; NaN where there is none.

    Returns:
        Scalar; 0 where no negative and its positive are scored.
    """
    student_QC = _cosines(query_QD, positive_QD, negative_QND)
    wanted_QN = teacher_QC[:, :1] - teacher_QC[:, 1:]
    there_QN = wanted_QN.isfinite()
    error_QN = (student_QC[:, :1] - student_QC[:, 1:] - wanted_QN.where(there_QN, 0)) * there_QN
    return error_QN.square().sum() / there_QN.sum().clamp_min(1)


def candidate_kl(
    query_QD: Tensor,
    positive_QD: Tensor,
    negative_QND: Tensor,
    teacher_QC: Tensor,
    *,
    temperature: float | Tensor,
) -> Tensor:
    """KL(re-scorer ‖ student) over each row's own candidates, both softmax(score / τ).

    Arguments are those of `margin_mse`.

    Returns:
        Mean over the rows with two scored candidates or more (scalar); 0 where there is none.
    """
    student_QC = _cosines(query_QD, positive_QD, negative_QND) / temperature
    there_QC = teacher_QC.isfinite()
    teacher_QC = teacher_QC.where(there_QC, 0) / temperature  # a learned temperature must not meet a NaN
    lowest = torch.finfo(student_QC.dtype).min
    log_student_QC = student_QC.masked_fill(~there_QC, lowest).log_softmax(dim=1)
    log_teacher_QC = teacher_QC.masked_fill(~there_QC, lowest).log_softmax(dim=1)
    gap_QC = (log_teacher_QC - log_student_QC).masked_fill(~there_QC, 0)
    counts_Q = there_QC.sum(1) > 1
    return ((log_teacher_QC.exp() * gap_QC).sum(1) * counts_Q).sum() / counts_Q.sum().clamp_min(1)


def _cosines(query_QD: Tensor, positive_QD: Tensor, negative_QND: Tensor) -> Tensor:
    """Cosine of each query to its positive and its negatives, [Q, 1 + N]."""
    query_QD = normalize(query_QD, dim=-1)
    positive_Q1 = (query_QD * normalize(positive_QD, dim=-1)).sum(-1, keepdim=True)
    return torch.cat([positive_Q1, torch.einsum("qd,qnd->qn", query_QD, normalize(negative_QND, dim=-1))], dim=1)
