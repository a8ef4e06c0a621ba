"""From a stage's settings to the loss of a global batch: the recipe's words become tensors' arguments here, once."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from polyglossa.engine.batch import RankBatch
from polyglossa.engine.step import Objective
from polyglossa.objectives.batch import Examples, embedding_loss
from polyglossa.objectives.exits import mean_over_exits
from polyglossa.objectives.matryoshka import weights, widths

# Only these speak to the loss under the recipe's own names.
_PASSED_ON = ("temperature", "hard_weight", "in_batch_weight", "gather", "mask", "score_margin", "bidirectional")


def build_objective(settings: Mapping[str, Any], *, width: int, distillation_weight: float = 0.0) -> Objective:
    """Bind a stage's objective settings.

    Args:
        settings: `ObjectiveConfig.model_dump()`.
        width: the model's width D.
        distillation_weight: weight of the teacher's term, where a batch brings teacher states (validation has none).
    """
    widths_ = (width,) if settings["matryoshka"] == "none" else widths(width)
    options = {name: settings[name] for name in _PASSED_ON}
    weights_ = weights(widths_, "uniform" if settings["matryoshka"] == "none" else settings["matryoshka"])

    def objective(state_TD: Tensor, batch: RankBatch) -> tuple[Tensor, dict[str, Tensor]]:
        return embedding_loss(
            state_TD,
            examples_of(batch),
            widths=widths_,
            weights=weights_,
            teacher_TE=batch.teacher_TE,
            distillation_weight=0.0 if batch.teacher_TE is None else distillation_weight,
            further={} if batch.teacher_TE is None else settings["teacher_terms"],
            **options,
        )

    return _over_exits(objective, width) if settings["layer_exits"] else objective


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
