"""From a stage's settings to the loss of a global batch: the recipe's words become tensors' arguments here, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from polyglossa.data.batch import RankBatch
from polyglossa.engine.step import Objective
from polyglossa.objectives.batch import Examples, embedding_loss, teacher_loss
from polyglossa.objectives.exits import mean_over_exits
from polyglossa.objectives.matryoshka import weights, widths
from polyglossa.objectives.terms import TermInputs

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
    widths_ = (width,) if settings["matryoshka"] == "none" else widths(width)
    options = {name: settings[name] for name in _PASSED_ON}
    learned = settings["learned_temperature"]
    weights_ = weights(widths_, "uniform" if settings["matryoshka"] == "none" else settings["matryoshka"])

    def objective(table_TF: Tensor, batch: RankBatch) -> tuple[Tensor, dict[str, Tensor]]:
        state_TD, examples = table_TF[:, :width], examples_of(batch)
        temperature = _learned_temperature(table_TF, width) if learned else settings["temperature"]
        loss, terms = embedding_loss(
            state_TD, examples, temperature=temperature, widths=widths_, weights=weights_, **options
        )
        if learned:
            terms["temperature"] = temperature.detach()
        projected_TF = table_TF[:, width : -1 if learned else None]
        for share, teacher_TE, projected_TE in _split(projected_TF, batch.teacher_TE, teachers):
            inputs = TermInputs(state_TD, examples, teacher_TE, temperature, widths_, tuple(weights_), projected_TE)
            taught, found = teacher_loss(
                inputs, distillation_weight=distillation_weight, further=settings["teacher_terms"]
            )
            loss = loss + share * taught
            terms |= {name: terms.get(name, 0.0) + share * term for name, term in found.items()}
        return loss, terms

    return _over_exits(objective, width) if settings["layer_exits"] else objective


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


def _over_exits(objective: Objective, width: int) -> Objective:
    """Average the loss over the exits, whose states lie side by side in the table: [T, X · D]."""

    def mean(state_TXD: Tensor, batch: RankBatch) -> tuple[Tensor, dict[str, Tensor]]:
        state_XTD = state_TXD.unflatten(1, (-1, width)).transpose(0, 1)
        return mean_over_exits(lambda state_TD: objective(state_TD, batch), state_XTD)

    return mean


def examples_of(batch: RankBatch) -> Examples:
    """Return the batch's examples as the objectives take them."""
    return Examples(
        query_Q=batch.query_Q,
        positive_Q=batch.positive_Q,
        negatives_QN=batch.negatives_QN,
        group_Q=batch.group_Q,
        in_batch=batch.in_batch,
        source_Q=batch.source_Q,
    )
