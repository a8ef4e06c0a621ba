"""The architectures that the packed forward path is tested on, and what differs between them besides attention.

To add one: an entry of `FAMILIES` under its `model_type`, and a small configuration in `tests/model/family_models.py`,
by which the tests hold its vectors to sentence-transformers'.

How a layer attends is read off the architecture itself (`model/attention/layers.py`). What this table vouches for is
that no other layer mixes tokens, so that packed texts cannot leak into each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PretrainedConfig

from polyglossa.errors import DataError


@dataclass(frozen=True)
class Family:
    """One architecture, under its `model_type`."""

    positions_behind_padding: bool = False
    """Positions are counted from behind the padding id (RoBERTa)."""
    prunable: tuple[str, ...] = ()
    """Axes along which a model may be cut: hidden, mlp, kv_heads, layers, vocabulary."""


_ENCODER_AXES = ("mlp", "layers", "vocabulary")

FAMILIES: Mapping[str, Family] = {
    "qwen3": Family(prunable=("hidden", "mlp", "kv_heads", "layers", "vocabulary")),
    "qwen2": Family(),
    "llama": Family(),
    "mistral": Family(),
    "ministral": Family(),
    "ministral3": Family(),
    "gemma": Family(),
    "gemma2": Family(),
    "gemma3_text": Family(),
    "olmo2": Family(),
    "olmo3": Family(),
    "phi3": Family(),
    "smollm3": Family(),
    "granite": Family(),
    "eurobert": Family(),
    "modernbert": Family(),
    "nomic_bert": Family(),
    "distilbert": Family(),
    "bert": Family(prunable=_ENCODER_AXES),
    "roberta": Family(positions_behind_padding=True, prunable=_ENCODER_AXES),
    "xlm-roberta": Family(positions_behind_padding=True, prunable=_ENCODER_AXES),
    "camembert": Family(positions_behind_padding=True),
}


def family_of(config: PretrainedConfig, *, packed: bool = True) -> Family:
    """Look up a model's family.

    Args:
        config: of the backbone.
        packed: whether texts will be packed; padded, any architecture but an encoder and decoder in one will do.

    Raises:
        DataError: the architecture is not known.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise DataError(f"{config.model_type}: encoder and decoder in one; which of the two embeds is not known.")
    if packed and config.model_type not in FAMILIES:
        raise DataError(
            f"{config.model_type}: not an architecture whose packed forward pass is known; known are "
            f"{', '.join(FAMILIES)}. `backbone.packed: false` runs it padded, through transformers' own attention."
        )
    return FAMILIES.get(config.model_type, Family())


def first_position(config: PretrainedConfig) -> int:
    """Return the position id of a text's first token: RoBERTa counts from behind its padding id."""
    behind = FAMILIES.get(config.model_type, Family()).positions_behind_padding
    return int(config.pad_token_id) + 1 if behind else 0


def longest_text(config: PretrainedConfig) -> int:
    """Return the longest text that the architecture has positions for (tokens)."""
    return int(getattr(config, "max_position_embeddings", None) or 1 << 30) - first_position(config)
