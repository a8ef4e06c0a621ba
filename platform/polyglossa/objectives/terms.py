"""Further terms of the loss, by the names a recipe gives them (`objective.terms`). All are off unless one is weighed.

To add one: write a function of `TermInputs` that returns a scalar, and name it in `TERMS`, or in `TEACHER_TERMS` where
it compares with a teacher: those count in batches that bring a teacher's states, once for each teacher.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from polyglossa.objectives import rescored, scored_pairs, spread, straight_through
from polyglossa.objectives.contrastive import in_batch_loss
from polyglossa.objectives.distillation import cosine_to_teacher, similarity_kl
from polyglossa.objectives.examples import Examples

Contrast = Callable[[Callable[[Tensor], Tensor]], Tensor]
"""What stands for the states at each width → the stage's contrastive loss of the batch over it."""


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
    weights: tuple[float, ...] | Tensor
    """Weight of each width."""
    projected_TE: Tensor | None = None
    """The student's states in the teacher's space, by a learned map, where the teacher is narrower."""
    contrast: Contrast | None = None
    """The contrastive loss of the stage, to be taken over compressed states."""
    rescored_scale: float = 1.0
    """What a re-scorer's scores are multiplied by."""

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

    @property
    def scores_Q(self) -> Tensor:
        """The pairs' own scores, NaN where one has none.

        Raises:
            ValueError: the batch brings none.
        """
        if self.examples.score_Q is None:
            raise ValueError("a term reads scores of pairs, and batches carry none: set `scores: true` for the stage")
        return self.examples.score_Q.to(self.state_TD.dtype)

    @property
    def rescored(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, positives, negatives, and what a re-scorer gave positives and negatives.

        Raises:
            ValueError: the batch brings no such scores.
        """
        examples, state_TD = self.examples, self.state_TD
        if examples.candidate_score_QC is None:
            raise ValueError(
                "a term reads a re-scorer's scores, and batches carry none: set `mine.rescore`, mine again"
            )
        return (
            state_TD[examples.query_Q],
            state_TD[examples.positive_Q],
            state_TD[examples.negatives_QN.clamp_min(0)],
            examples.candidate_score_QC.to(state_TD.dtype) * self.rescored_scale,
        )

    def over_widths(self, term: "Callable[[Tensor], Tensor]") -> Tensor:
        """Sum a function of the states over the Matryoshka widths, with their weights."""
        pairs = zip(self.widths, self.weights, strict=True)
        return torch.stack([weight * term(self.state_TD[:, :width]) for width, weight in pairs]).sum()


Term = Callable[[TermInputs], Tensor]


def scores(inputs: TermInputs) -> Tensor:
    """Rank pairs as their scores do, by cosine: CoSENT. Pairs without a score take no part."""
    return _scored(inputs, scored_pairs.cosent)


def angle(inputs: TermInputs) -> Tensor:
    """Rank pairs as their scores do, by the angle in complex space: AnglE. Pairs without a score take no part."""
    return _scored(inputs, scored_pairs.angle)


def spread_out(inputs: TermInputs) -> Tensor:
    """Mean squared cosine of two queries, and of two positives; over the Matryoshka widths, with their weights."""
    roles = (inputs.examples.query_Q, inputs.examples.positive_Q)
    return inputs.over_widths(
        lambda state_TW: torch.stack([spread.spread_out(state_TW[role_Q], role_Q) for role_Q in roles]).sum()
    )


def int8(inputs: TermInputs) -> Tensor:
    """The stage's contrastive loss over int8 vectors of each width; the gradient passes the rounding."""
    return _compressed(inputs, straight_through.to_int8)


def binary(inputs: TermInputs) -> Tensor:
    """The stage's contrastive loss over sign bits of each width; the gradient passes the rounding."""
    return _compressed(inputs, straight_through.to_binary)


def margin_mse(inputs: TermInputs) -> Tensor:
    """Squared error of the margins between positive and negatives against a re-scorer's; at the full width."""
    return rescored.margin_mse(*inputs.rescored) + 0.0 * inputs.state_TD.sum()


def candidate_kl(inputs: TermInputs) -> Tensor:
    """KL of a row's own candidates as a re-scorer ranks them; at the full width."""
    return rescored.candidate_kl(*inputs.rescored, temperature=inputs.temperature) + 0.0 * inputs.state_TD.sum()


def cosine(inputs: TermInputs) -> Tensor:
    """Cosine distance to the teacher's first coordinates, summed over the three roles."""
    return inputs.examples.mean_by_role(cosine_to_teacher(inputs.matched, inputs.teacher))


def similarity(inputs: TermInputs) -> Tensor:
    """KL of the similarities of the batch's queries to all its documents, at the full width."""
    return _similarity(inputs, inputs.state_TD)


def similarity_by_width(inputs: TermInputs) -> Tensor:
    """The same for every Matryoshka width, with the widths' weights; the teacher keeps its full width."""
    return inputs.over_widths(lambda state_TW: _similarity(inputs, state_TW))


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
    "scores": scores,
    "angle": angle,
    "spread_out": spread_out,
    "int8": int8,
    "binary": binary,
    "margin_mse": margin_mse,
    "candidate_kl": candidate_kl,
}
"""Terms of every batch."""

SCORED_TERMS, RESCORED_TERMS = ("scores", "angle"), ("margin_mse", "candidate_kl")
"""Terms that read scores of pairs, and scores of a re-scorer."""

TEACHER_TERMS: dict[str, Term] = {
    "cosine": cosine,
    "similarity_kl": similarity,
    "similarity_kl_by_width": similarity_by_width,
    "cross_space": cross_space,
}
"""Terms of batches with a teacher's states."""


def check_terms(names: Iterable[str]) -> None:
    """Refuse a name that no term has.

    Raises:
        ValueError: there is one.
    """
    for name in names:
        if name not in TERMS and name not in TEACHER_TERMS:
            raise ValueError(f"objective term {name!r} is not known; terms are {', '.join((*TERMS, *TEACHER_TERMS))}")


def weigh_terms(terms: Mapping[str, Term], weights: Mapping[str, float], inputs: TermInputs) -> dict[str, Tensor]:
    """Compute those of some terms that have a weight, each without it."""
    return {name: terms[name](inputs) for name in weights if name in terms}


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


def _scored(inputs: TermInputs, loss: Callable[..., Tensor]) -> Tensor:
    examples, score_Q, state_TD = inputs.examples, inputs.scores_Q, inputs.state_TD
    scored = score_Q.isfinite()
    first_SD, second_SD = state_TD[examples.query_Q[scored]], state_TD[examples.positive_Q[scored]]
    return loss(first_SD, second_SD, score_Q[scored], temperature=inputs.temperature) + 0.0 * state_TD.sum()


def _compressed(inputs: TermInputs, output: Callable[[Tensor], Tensor]) -> Tensor:
    if inputs.contrast is None:
        raise ValueError("a term compresses the states of the contrastive loss, and there is none")
    return inputs.contrast(output)
