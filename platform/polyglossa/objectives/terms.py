"""Further terms of the loss, by the names a recipe gives them. All are off unless a recipe weighs them.

To add one: write a function of `TermInputs` that returns a scalar, and name it in `TERMS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from polyglossa.objectives.contrastive import in_batch_loss
from polyglossa.objectives.distillation import cosine_to_teacher, similarity_kl
from polyglossa.objectives.examples import Examples


@dataclass(frozen=True)
class TermInputs:
    """What a term may read of a global batch."""

    state_TD: Tensor
    """Raw states of the distinct texts."""
    examples: Examples
    teacher_TE: Tensor | None
    """Raw teacher states of the same texts, where the member has a teacher."""
    temperature: float | Tensor
    widths: tuple[int, ...]
    """Matryoshka widths (only D: no Matryoshka)."""
    weights: tuple[float, ...]
    """Weight of each width."""
    projected_TE: Tensor | None = None
    """The student's states in the teacher's space, by a learned map, where the teacher is narrower."""

    @property
    def matched(self) -> Tensor:
        """The states that are compared with the teacher's, coordinate by coordinate."""
        return self.state_TD if self.projected_TE is None else self.projected_TE

    @property
    def teacher(self) -> Tensor:
        """The teacher's states.

        Raises:
            ValueError: the batch brings none.
        """
        if self.teacher_TE is None:
            raise ValueError("a term compares with a teacher, and the batch brings no teacher states")
        return self.teacher_TE.to(self.state_TD.dtype)


Term = Callable[[TermInputs], Tensor]


def cosine(inputs: TermInputs) -> Tensor:
    """Cosine distance to the teacher's first coordinates, summed over the three roles."""
    return inputs.examples.mean_by_role(cosine_to_teacher(inputs.matched, inputs.teacher))


def similarity(inputs: TermInputs) -> Tensor:
    """KL of the similarities of the batch's queries to all its documents, at the full width."""
    return _similarity(inputs, inputs.state_TD)


def similarity_by_width(inputs: TermInputs) -> Tensor:
    """The same for every Matryoshka width, with the widths' weights; the teacher keeps its full width."""
    pairs = zip(inputs.widths, inputs.weights, strict=True)
    return torch.stack([weight * _similarity(inputs, inputs.state_TD[:, :width]) for width, weight in pairs]).sum()


def cross_space(inputs: TermInputs) -> Tensor:
    """In-batch term of student queries against the teacher's documents, and of teacher queries against the student's.

    It trains for one index that either model may search: compatible spaces.
    """
    examples, state_TD = inputs.examples, inputs.matched
    teacher_TD = inputs.teacher[:, : state_TD.shape[1]].detach()
    own_Q = torch.arange(len(examples.query_Q), device=teacher_TD.device)
    ways = ((state_TD, teacher_TD), (teacher_TD, state_TD))
    losses = [
        in_batch_loss(
            query_TD[examples.query_Q],
            document_TD[examples.positive_Q],
            own_Q,
            temperature=inputs.temperature,
            excluded_QP=examples.known_positives(),
        )
        for query_TD, document_TD in ways
    ]
    return torch.stack(losses).mean()


TERMS: dict[str, Term] = {
    "cosine": cosine,
    "similarity_kl": similarity,
    "similarity_kl_by_width": similarity_by_width,
    "cross_space": cross_space,
}


def find_term(name: str) -> Term:
    """Look a term up.

    Raises:
        ValueError: no term has the name.
    """
    if name not in TERMS:
        raise ValueError(f"objective term {name!r} is not known; terms are {', '.join(TERMS)}")
    return TERMS[name]


def _similarity(inputs: TermInputs, state_TD: Tensor) -> Tensor:
    examples, teacher_TE = inputs.examples, inputs.teacher
    document_P = examples.documents
    return similarity_kl(
        state_TD[examples.query_Q],
        state_TD[document_P],
        teacher_TE[examples.query_Q],
        teacher_TE[document_P],
        temperature=inputs.temperature,
    )
