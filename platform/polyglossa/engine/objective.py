"""From a stage's settings to the loss of a global batch: the recipe's words become tensors' arguments here, once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from polyglossa.data.batch import RankBatch
from polyglossa.engine.stage_spec import ObjectiveSpec, TeacherTerm
from polyglossa.engine.step import Objective
from polyglossa.objectives.batch import Examples, embedding_loss, further_loss, teacher_loss
from polyglossa.objectives.exits import mean_over_exits
from polyglossa.objectives.matryoshka import weights, widths
from polyglossa.objectives.terms import TermInputs, check_terms
from polyglossa.runtime.transfer import send

_TEMPERATURES = (0.01, 1.0)


def build_objective(
    spec: ObjectiveSpec, *, width: int, distillation_weight: float = 0.0, teachers: Sequence[TeacherTerm] = ()
) -> Objective:
    """Bind a stage's objective settings.

    Args:
        spec: the stage's objective.
        width: the model's width D.
        distillation_weight: weight of a teacher's MSE term, where a batch brings teacher states (validation has none).
        teachers: whose states lie side by side in a batch, in order; none means one teacher, all of its states.

    Raises:
        ValueError: a further term is not known.
    """
    check_terms(spec.terms)
    widths_ = (width,) if spec.matryoshka == "none" else widths(width)
    objective = StageObjective(
        spec=spec,
        width=width,
        widths=widths_,
        weights=tuple(weights(widths_, "uniform" if spec.matryoshka == "none" else spec.matryoshka)),
        distillation_weight=distillation_weight,
        teachers=tuple(teachers),
    )
    return MeanOverExits(objective) if spec.layer_exits else objective


def build_validation(spec: ObjectiveSpec, *, width: int, full: bool) -> Objective:
    """Bind what validation losses are made of: the stage's objective without its teachers.

    Args:
        spec: the stage's objective.
        width: the model's width.
        full: whether the full width alone counts, as in F2LLM-v2's script.
    """
    return build_objective(replace(spec, matryoshka="none") if full else spec, width=width)


@dataclass(frozen=True)
class StageObjective:
    """The loss of a stage's batches; called with a text table [T, F] and its batch."""

    spec: ObjectiveSpec
    width: int
    """The model's width D; further columns of the table hold projections and the temperature."""
    widths: tuple[int, ...]
    """Matryoshka widths."""
    weights: tuple[float, ...]
    """One for each width."""
    distillation_weight: float
    teachers: tuple[TeacherTerm, ...]

    def __call__(self, table_TF: Tensor, batch: RankBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the global batch, and its terms by name."""
        spec, state_TD, examples = self.spec, table_TF[:, : self.width], examples_of(batch)
        temperature = _learned_temperature(table_TF, self.width) if spec.learned_temperature else spec.temperature
        loss, terms = embedding_loss(
            state_TD,
            examples,
            temperature=temperature,
            widths=self.widths,
            weights=self.weights,
            hard_weight=spec.hard_weight,
            in_batch_weight=spec.in_batch_weight,
            gather=spec.gather,
            mask=spec.mask,
            score_margin=spec.score_margin,
            bidirectional=spec.bidirectional,
        )
        if isinstance(temperature, Tensor):
            terms["temperature"] = temperature.detach()
        inputs = TermInputs(state_TD, examples, None, temperature, self.widths, self.weights)
        further, found = further_loss(inputs, spec.terms)
        loss, terms = loss + further, terms | found
        projected_TF = table_TF[:, self.width : -1 if spec.learned_temperature else None]
        for share, teacher_TE, projected_TE in _split(projected_TF, batch.teacher_TE, self.teachers):
            given = replace(inputs, teacher_TE=teacher_TE, projected_TE=projected_TE)
            taught, found = teacher_loss(given, distillation_weight=self.distillation_weight, further=spec.terms)
            loss = loss + share * taught
            terms |= {name: terms.get(name, 0.0) + share * term for name, term in found.items()}
        return loss, terms


@dataclass(frozen=True)
class MeanOverExits:
    """The mean of an objective over layer exits, whose states lie side by side in the table: [T, X · D]."""

    objective: StageObjective

    def __call__(self, state_TXD: Tensor, batch: RankBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss, and the terms by name."""
        state_XTD = state_TXD.unflatten(1, (-1, self.objective.width)).transpose(0, 1)
        return mean_over_exits(lambda state_TD: self.objective(state_TD, batch), state_XTD)


def _learned_temperature(table_TF: Tensor, width: int) -> Tensor:
    """Read the learned temperature from the table's last column; within bounds, as CLIP keeps it (arXiv 2103.00020)."""
    if table_TF.shape[1] == width:
        raise ValueError("learned_temperature: the embedder learns none, and the table ends with the states")
    return table_TF[:, -1].mean().exp().clamp(*_TEMPERATURES)


def _split(
    projected_TF: Tensor, teacher_TF: Tensor | None, teachers: Sequence[TeacherTerm]
) -> list[tuple[float, Tensor, Tensor | None]]:
    """Each teacher's share, its states and, where there is one, the student's projection into its space."""
    if teacher_TF is None:
        return []
    if not teachers:
        return [(1.0, teacher_TF, None)]
    projections = iter(projected_TF.split([one.width for one in teachers if one.projected], dim=1))
    states = teacher_TF.split([one.width for one in teachers], dim=1)
    return [
        (one.share, state_TE, next(projections) if one.projected else None)
        for one, state_TE in zip(teachers, states, strict=True)
    ]


def examples_of(batch: RankBatch) -> Examples:
    """Return the batch's examples as the objectives take them; what depends on values is found on the host."""
    found: dict[str, Any] = {}
    if batch.host is not None and batch.teacher_TE is not None:
        host = _examples(batch.host)
        found = {
            "chosen_P": send(host.chosen_negatives, batch.query_Q.device),
            "document_P": send(host.documents, batch.query_Q.device),
        }
    return replace(_examples(batch), **found)


def _examples(batch: RankBatch) -> Examples:
    return Examples(
        query_Q=batch.query_Q,
        positive_Q=batch.positive_Q,
        negatives_QN=batch.negatives_QN,
        group_Q=batch.group_Q,
        in_batch=batch.in_batch,
        source_Q=batch.source_Q,
        score_Q=batch.score_Q,
        candidate_score_QC=batch.candidate_score_QC,
    )
