"""Further terms of the loss, by the names a recipe gives them (`objective.terms`). All are off unless one is weighed.

To add one: write a function of `TermInputs` that returns a scalar, and name it in `TERMS`, or in `TEACHER_TERMS` where
it compares with a teacher: those count in batches that bring a teacher's states, once for each teacher.
"""

from collections.abc import Callable, Iterable, Mapping
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

    @property
    def scores_Q(self) -> Tensor:
        """The pairs' own scores, NaN where one has none.

        Raises:
            ValueError: the batch brings none.
        """
        if self.examples.score_Q is None:
            raise ValueError("a term reads scores of pairs, and batches carry none: set `scores: true` for the stage")
        return self.examples.score_Q.to(self.state_TD.dtype)


Term = Callable[[TermInputs], Tensor]


def scores(inputs: TermInputs) -> Tensor:
    """Rank pairs as their scores do: CoSENT, log(1 + Σ exp((cos_j − cos_i) / τ)) over all i that score above j.

    Jianlin Su, https://kexue.fm/archives/8847. Pairs without a score take no part; without two of them it is 0.
    """
    examples, score_Q = inputs.examples, inputs.scores_Q
    cosine_Q = torch.nn.functional.cosine_similarity(
        inputs.state_TD[examples.query_Q], inputs.state_TD[examples.positive_Q], dim=1
    )
    scored = score_Q.isfinite()
    cosine_S, score_S = cosine_Q[scored], score_Q[scored]
    higher_SS = score_S[:, None] > score_S[None, :]
    gap_P = ((cosine_S[None, :] - cosine_S[:, None]) / inputs.temperature)[higher_SS]
    return torch.cat([gap_P.new_zeros(1), gap_P]).logsumexp(0) + 0.0 * cosine_Q.sum()


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


TERMS: dict[str, Term] = {"scores": scores}
"""Terms of every batch."""

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
