"""From a stage's settings to the loss of a global batch: the recipe's words become tensors' arguments here, once."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from polyglossa.engine.batch import RankBatch
from polyglossa.engine.step import Objective
from polyglossa.objectives.batch import Examples, embedding_loss
from polyglossa.objectives.matryoshka import weights, widths

# Only these speak to the loss under the recipe's own names.
_PASSED_ON = ("temperature", "hard_weight", "in_batch_weight", "gather", "mask", "score_margin", "bidirectional")


def build_objective(settings: Mapping[str, Any], *, width: int, distillation_weight: float = 0.0) -> Objective:
    """Bind a stage's objective settings.

    Args:
        settings: `ObjectiveConfig.model_dump()`.
        width: the model's width D.
        distillation_weight: weight of the teacher's term; 0 where the batches bring no teacher states.
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
            teacher_TE=batch.teacher_TE if distillation_weight else None,
            distillation_weight=distillation_weight,
            **options,
        )

    return objective


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
