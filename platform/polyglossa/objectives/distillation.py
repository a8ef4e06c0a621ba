"""Distillation: what a student's states are pulled to. The teacher never gets a gradient.

T = texts, D = width of the student, E ≥ D = width of the teacher.
"""

from torch import Tensor


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
    width = student_TD.shape[-1]
    if teacher_TE.shape[-1] < width:
        raise ValueError(f"teacher states have width {teacher_TE.shape[-1]}, the student's {width}; need at least that")
    target_TD = teacher_TE[..., :width].detach().to(student_TD.dtype)
    return (student_TD - target_TD).square().mean(-1)
