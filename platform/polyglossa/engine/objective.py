"""From a stage's settings to the loss of a global batch: the recipe's words become tensors' arguments here, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from polyglossa.data.batch import RankBatch
from polyglossa.engine.step import Objective
from polyglossa.objectives.batch import Examples, embedding_loss, teacher_loss
from polyglossa.objectives.exits import mean_over_exits
from polyglossa.objectives.matryoshka import weights, widths
from polyglossa.objectives.terms import TermInputs
from polyglossa.runtime.transfer import send

# Only these speak to the loss under the recipe's own names.
_PASSED_ON = ("hard_weight", "in_batch_weight", "gather", "mask", "score_margin", "bidirectional")

_TEMPERATURES = (0.01, 1.0)


@dataclass(frozen=True)
class TeacherTerm:
    """One teacher's part of the loss. Plain values: it travels to workers."""

    width: int
    """Coordinates of its states in a batch."""
    share: float = 1.0
    """Weight of all its terms."""
    projected: bool = False
    """Whether the table carries a projection of the student's states into its space."""


def build_objective(
    settings: Mapping[str, Any], *, width: int, distillation_weight: float = 0.0, teachers: Sequence[TeacherTerm] = ()
) -> Objective:
    """Bind a stage's objective settings.

    Args:
        settings: `ObjectiveConfig.model_dump()`.
        width: the model's width D.
        distillation_weight: weight of a teacher's MSE term, where a batch brings teacher states (validation has none).
        teachers: whose states lie side by side in a batch, in order; none means one teacher, all of its states.
    """
    matryoshka = settings["matryoshka"]
    widths_ = (width,) if matryoshka == "none" else widths(width)
    objective = StageObjective(
        width=width,
        widths=widths_,
        weights=tuple(weights(widths_, "uniform" if matryoshka == "none" else matryoshka)),
        temperature=None if settings["learned_temperature"] else settings["temperature"],
        options={name: settings[name] for name in _PASSED_ON},
        further=settings["teacher_terms"],
        distillation_weight=distillation_weight,
        teachers=tuple(teachers),
    )
    return MeanOverExits(objective) if settings["layer_exits"] else objective


@dataclass(frozen=True)
class StageObjective:
    """The loss of a stage's batches; called with a text table [T, F] and its batch."""

    width: int
    """The model's width D; further columns of the table hold projections and the temperature."""
    widths: tuple[int, ...]
    """Matryoshka widths."""
    weights: tuple[float, ...]
    """One for each width."""
    temperature: float | None
    """None reads the learned one from the table."""
    options: Mapping[str, Any]
    """Keyword arguments of `embedding_loss`."""
    further: Any
    """Weights of further terms with a teacher, by name."""
    distillation_weight: float
    teachers: tuple[TeacherTerm, ...]

    def __call__(self, table_TF: Tensor, batch: RankBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the global batch, and its terms by name."""
        state_TD, examples = table_TF[:, : self.width], examples_of(batch)
        learned = self.temperature is None
        temperature = _learned_temperature(table_TF, self.width) if self.temperature is None else self.temperature
        loss, terms = embedding_loss(
            state_TD, examples, temperature=temperature, widths=self.widths, weights=self.weights, **self.options
        )
        if isinstance(temperature, Tensor):
            terms["temperature"] = temperature.detach()
        projected_TF = table_TF[:, self.width : -1 if learned else None]
        for share, teacher_TE, projected_TE in _split(projected_TF, batch.teacher_TE, self.teachers):
            inputs = TermInputs(state_TD, examples, teacher_TE, temperature, self.widths, self.weights, projected_TE)
            taught, found = teacher_loss(inputs, distillation_weight=self.distillation_weight, further=self.further)
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
    )
