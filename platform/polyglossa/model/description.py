"""The one description of a model: what every reader of it, from trainer to replica, must agree on.

It is read from a model directory or hub name (sentence-transformers' files where they are, else the architecture),
written back in the same form, and part of the encoder's fingerprint. What a recipe says explicitly wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from transformers import PretrainedConfig, PreTrainedModel

from polyglossa.errors import DataError
from polyglossa.model.attention.layers import LayerAttention, attention_layers
from polyglossa.model.dense import DenseShape
from polyglossa.model.families import family_of, first_position, longest_text
from polyglossa.model.pooling import POOLINGS

Attention = Literal["causal", "bidirectional"]


@dataclass(frozen=True)
class ModelDescription:
    """How a text becomes a vector, besides the weights and the tokenizer."""

    family: str
    """The architecture's `model_type`."""
    layers: tuple[LayerAttention, ...]
    """How each layer attends; empty where texts are padded and transformers decides."""
    hidden: int
    """Width of the backbone."""
    first_position: int
    """Position id of a text's first token."""
    longest: int
    """Longest text that the architecture has positions for (tokens)."""
    pooling: tuple[str, ...]
    """Names of `POOLINGS`; of several, the states are put side by side."""
    prunable: tuple[str, ...] = ()
    """Axes along which the model may be cut."""
    dense: tuple[DenseShape, ...] = ()
    """Layers behind the pooling."""
    normalise: bool = True
    """Whether vectors have unit length."""
    similarity: str = "cosine"
    """How vectors are compared: cosine, dot, euclidean, manhattan."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Name → prefix."""
    default_prompt: str | None = None
    """Name of the prompt of texts for which none is named."""
    packed: bool = True
    """Whether texts go through the model end to end; padded, transformers' own attention runs."""

    @property
    def width(self) -> int:
        """Width of a raw state."""
        return self.dense[-1].out_features if self.dense else self.pooled_width

    @property
    def pooled_width(self) -> int:
        """Width of what the pooling gives."""
        return self.hidden * len(self.pooling)

    @property
    def causal(self) -> bool:
        """Whether no token sees one behind it."""
        return bool(self.layers) and all(layer.behind == 0 for layer in self.layers)

    @property
    def shares_beginnings(self) -> bool:
        """Whether a beginning that texts share may be computed once: no token of it depends on what follows."""
        return self.causal and self.pooling == ("last",)

    def answer(self) -> dict[str, Any]:
        """Say in short words what the model is, for people."""
        windows = sorted({layer.before for layer in self.layers if layer.before is not None})
        caps = sorted({layer.soft_cap for layer in self.layers if layer.soft_cap is not None})
        attention = "causal" if self.causal else "bidirectional" if self.layers else "as transformers has it (padded)"
        return {
            "family": self.family,
            "attention": attention,
            "windows": windows,
            "soft_cap": caps[0] if caps else None,
            "pooling": "+".join(self.pooling),
            "dense": [f"{shape.in_features}→{shape.out_features}" for shape in self.dense],
            "width": self.width,
            "normalised": self.normalise,
            "longest_text": self.longest,
            "prompts": dict(self.prompts),
            "default_prompt": self.default_prompt,
            "prunable": list(self.prunable),
            "packed": self.packed,
        }

    def canonical(self) -> str:
        """Return everything that shapes a vector as one string, for fingerprints."""
        return repr([(one.name, _plain(getattr(self, one.name))) for one in fields(self) if one.name != "prunable"])


def _plain(value: Any) -> Any:
    return sorted(value.items()) if isinstance(value, Mapping) else value


def describe_backbone(
    kind: type[PreTrainedModel],
    config: PretrainedConfig,
    *,
    pooling: Sequence[str] | None = None,
    packed: bool = True,
) -> ModelDescription:
    """Describe a model by its architecture: a causal one pools its last token, one that reads both ways its mean.

    Args:
        kind: class of the backbone.
        config: its configuration.
        pooling: what is known to follow the backbone; None takes the architecture's.
        packed: whether texts are packed.

    Raises:
        DataError: the architecture, its attention or the pooling is not known.
    """
    family = family_of(config, packed=packed)
    layers = attention_layers(kind, config) if packed else ()
    if packed and not layers:
        raise DataError(f"{config.model_type}: has no attention that packed texts could go through.")
    description = ModelDescription(
        family=config.model_type,
        layers=layers,
        hidden=int(config.hidden_size),
        first_position=first_position(config),
        longest=longest_text(config),
        pooling=(),
        prunable=family.prunable,
        packed=packed,
    )
    return replace(description, pooling=_known(pooling or (_default_pooling(description, config),)))


def _default_pooling(description: ModelDescription, config: PretrainedConfig) -> str:
    if description.layers:
        return "last" if description.causal else "mean"
    causal = any("CausalLM" in name for name in config.architectures or ()) and getattr(config, "is_causal", True)
    return "last" if causal else "mean"


def _known(pooling: Sequence[str]) -> tuple[str, ...]:
    for name in pooling:
        if name not in POOLINGS:
            raise DataError(f"pooling: {name!r} is not known; known are {', '.join(POOLINGS)}.")
    return tuple(pooling)


def set_attention(config: PretrainedConfig, attention: Attention) -> None:
    """Make an architecture attend causally or both ways, in the words that transformers' mask functions read.

    Raises:
        DataError: the value is neither.
    """
    if attention not in get_args(Attention):
        raise DataError(f"attention: {attention!r} is not known; it is causal or bidirectional.")
    config.is_causal = attention == "causal"


def check_attention(description: ModelDescription, attention: Attention) -> None:
    """Hold what was asked for to what the architecture does.

    Raises:
        DataError: it cannot attend so.
    """
    if description.causal != (attention == "causal"):
        found = "causally" if description.causal else "both ways"
        raise DataError(f"{description.family}: attends {found} whatever its configuration says, not {attention}.")


def describe_like(parent: ModelDescription, kind: type[PreTrainedModel], config: PretrainedConfig) -> ModelDescription:
    """Describe a backbone that took another's place: what follows it stays the parent's.

    Args:
        parent: description of the model that it comes from.
        kind: class of the backbone.
        config: its configuration.
    """
    return replace(
        describe_backbone(kind, config, pooling=parent.pooling, packed=parent.packed),
        dense=parent.dense,
        normalise=parent.normalise,
        similarity=parent.similarity,
        prompts=parent.prompts,
        default_prompt=parent.default_prompt,
    )
