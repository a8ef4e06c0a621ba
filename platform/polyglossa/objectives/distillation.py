"""Distillation: what a student's states are pulled to. The teacher never gets a gradient.

T = texts, Q = queries, P = documents, D = width of the student, E = width of the teacher. The first two compare state
with state and need the teacher's first D coordinates to be the student's space; `similarity_kl` compares rankings, so
widths and spaces may differ.
"""

from torch import Tensor
from torch.nn.functional import cosine_similarity, kl_div, log_softmax, normalize


def mse_to_teacher(student_TD: Tensor, teacher_TE: Tensor) -> Tensor:
    """Mean squared distance of each raw student state to the teacher's first D coordinates (F2LLM-v2).

    Args:
        student_TD: raw states of the student.
        teacher_TE: raw states of the teacher for the same texts, at least as wide; detached here.

    Returns:
        distance_T: one value a text, averaged over its D coordinates; callers average over the texts of each role.

    Raises:
        ValueError: the teacher is narrower than the student.
    """
    return (student_TD - _target(student_TD, teacher_TE)).square().mean(-1)


def cosine_to_teacher(student_TD: Tensor, teacher_TE: Tensor) -> Tensor:
    """Cosine distance, 1 − cos, of each student state to the teacher's first D coordinates: lengths do not count.

    Args and errors are those of `mse_to_teacher`.

    Returns:
        distance_T: 0 … 2, one value a text.
    """
    return 1.0 - cosine_similarity(student_TD, _target(student_TD, teacher_TE), dim=-1)


def similarity_kl(
    query_QD: Tensor,
    document_PD: Tensor,
    teacher_query_QE: Tensor,
    teacher_document_PE: Tensor,
    *,
    temperature: float | Tensor,
) -> Tensor:
    """KL(teacher ‖ student) of how each query spreads its similarity over the documents of the batch.

    Both distributions are softmax(cosine / τ) over the documents, negatives included; the teacher's is over its full
    width.

    Returns:
        Mean over the queries (scalar).
    """
    student_QP = log_softmax(normalize(query_QD, dim=-1) @ normalize(document_PD, dim=-1).T / temperature, dim=-1)
    teacher_query_QE, teacher_document_PE = teacher_query_QE.detach(), teacher_document_PE.detach()
    scores_QP = normalize(teacher_query_QE, dim=-1) @ normalize(teacher_document_PE, dim=-1).T
    teacher_QP = log_softmax(scores_QP.to(student_QP.dtype) / temperature, dim=-1)
    return kl_div(student_QP, teacher_QP, reduction="batchmean", log_target=True)


def _target(student_TD: Tensor, teacher_TE: Tensor) -> Tensor:
    width = student_TD.shape[-1]
    if teacher_TE.shape[-1] < width:
        raise ValueError(f"teacher states have width {teacher_TE.shape[-1]}, the student's {width}; need at least that")
    return teacher_TE[..., :width].detach().to(student_TD.dtype)
