"""Adapt a backbone for training and restore it at export, so that the model directory stays stock.

Low-rank additions (`lora.py`) train little; a low-rank embedding table (`model/variants/low_rank.py`) trains every size
of it.
"""

from transformers import PreTrainedModel

from polyglossa.model.variants.adaptation import Adaptation
from polyglossa.model.variants.low_rank import LowRankEmbedding, draw_published_rank, draw_rank, factorise, fold


def adapt(backbone: PreTrainedModel, adaptation: Adaptation) -> PreTrainedModel:
    """Make a backbone ready for a stage, in place; the same on every rank."""
    if adaptation.embedding_rank is not None:
        factorise(backbone, adaptation.embedding_rank, even=adaptation.embedding_ranks != "published")
    if adaptation.lora is not None:
        from polyglossa.model.variants.lora import attach  # peft is large

        attach(backbone, adaptation.lora, seed=adaptation.seed)
    return backbone


def restore(backbone: PreTrainedModel, adaptation: Adaptation) -> PreTrainedModel:
    """Turn an adapted backbone back into a stock one with the trained weights, in place."""
    if adaptation.lora is not None:
        from polyglossa.model.variants.lora import merge

        merge(backbone)
    fold(backbone)
    return backbone


def choose_table_rank(backbone: PreTrainedModel, adaptation: Adaptation, step: int | None) -> None:
    """Set the sub-rank of a low-rank embedding table: drawn for a training step, full where `step` is None."""
    table, rank = backbone.get_input_embeddings(), adaptation.embedding_rank
    if isinstance(table, LowRankEmbedding) and rank is not None:
        draw = draw_published_rank if adaptation.embedding_ranks == "published" else draw_rank
        table.active = rank if step is None else draw(rank, adaptation.seed * 1_000_003 + step)
