"""Adapt a backbone for training and restore it at export, so that the model directory stays stock.

Low-rank additions (`lora.py`) train little; a low-rank embedding table (`model/variants/low_rank.py`) trains every size
of it.
"""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from polyglossa.model.variants.low_rank import LowRankEmbedding, draw_published_rank, draw_rank, factorise, fold


def adapt(backbone: PreTrainedModel, stage: Mapping[str, Any]) -> PreTrainedModel:
    """Make a backbone ready for a stage, in place; the same on every rank."""
    if stage["embedding_rank"] is not None:
        factorise(backbone, stage["embedding_rank"], even=not _publishes_ranks(stage))
    if stage["lora"] is not None:
        from polyglossa.model.variants.lora import attach  # peft is large

        attach(backbone, stage["lora"], seed=stage["seed"])
    return backbone


def restore(backbone: PreTrainedModel, stage: Mapping[str, Any]) -> PreTrainedModel:
    """Turn an adapted backbone back into a stock one with the trained weights, in place."""
    if stage["lora"] is not None:
        from polyglossa.model.variants.lora import merge

        merge(backbone)
    fold(backbone)
    return backbone


def choose_table_rank(backbone: PreTrainedModel, stage: Mapping[str, Any], step: int | None) -> None:
    """Set the sub-rank of a low-rank embedding table: drawn for a training step, full where `step` is None."""
    table, rank = backbone.get_input_embeddings(), stage["embedding_rank"]
    if isinstance(table, LowRankEmbedding):
        draw = draw_published_rank if _publishes_ranks(stage) else draw_rank
        table.active = rank if step is None else draw(rank, stage["seed"] * 1_000_003 + step)


def _publishes_ranks(stage: Mapping[str, Any]) -> bool:
    return stage.get("embedding_ranks") == "published"
