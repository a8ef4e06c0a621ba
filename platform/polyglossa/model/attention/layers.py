"""Read off an architecture how each of its layers attends, without its weights.

A copy of the model without storage is run once over two tokens, with a mask and an attention that only note what the
model's own code asks for. So causal, two-way, windowed and capped layers are what transformers makes of them, and an
attention that asks for something else (chunks, sinks, position biases) is refused before anything is computed.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from polyglossa.errors import DataError

_PROBE = "polyglossa_probe"
_REACH = 1 << 16
"""Distance (tokens) up to which a mask is looked at; a wider window counts as none."""

_HARMLESS_ARGUMENTS = frozenset(
    {
        # The mask says the same, layer by layer, and eager attention reads nothing else.
        "sliding_window", "is_causal", "softcap",
        # Settings of other kernels, and what models hand on to every layer.
        "deterministic", "position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states",
        "return_dict", "packed_texts", "training",
    }
)  # fmt: skip
"""Arguments of an attention function that do not change what packed attention computes."""


def unknown_arguments(arguments: Mapping[str, Any]) -> list[str]:
    """Name what an architecture hands its attention beyond what is known to change nothing."""
    return [name for name, value in arguments.items() if value is not None and name not in _HARMLESS_ARGUMENTS]


@dataclass(frozen=True)
class LayerAttention:
    """What a token sees in one attention module."""

    module: str
    """Path of the module in the backbone."""
    before: int | None
    """Tokens before the query that it sees; None means all."""
    behind: int | None
    """Tokens behind the query that it sees; 0 is causal, None means all."""
    soft_cap: float | None = None
    """Scores s become cap · tanh(s / cap)."""


@dataclass(frozen=True)
class _Window:
    """What the probe hands from the mask to the attention."""

    before: int | None
    behind: int | None


def layer_attention(module: nn.Module) -> LayerAttention:
    """Return how an attention module attends, as `mark_attention` noted it."""
    layer = module.__dict__.get("layer_attention")
    if not isinstance(layer, LayerAttention):
        raise ValueError(f"{type(module).__name__}: its model was not prepared by `use_packed_attention`.")
    return layer


def mark_attention(backbone: PreTrainedModel) -> None:
    """Note in every attention module how it attends.

    Raises:
        DataError: a layer attends in a way that is not known.
    """
    for layer in attention_layers(type(backbone), backbone.config):
        backbone.get_submodule(layer.module).layer_attention = layer


def attention_layers(kind: type[PreTrainedModel], config: PretrainedConfig) -> tuple[LayerAttention, ...]:
    """Read how every attention module of an architecture attends, in the order of the forward pass.

    Args:
        kind: class of the backbone.
        config: its configuration.

    Raises:
        DataError: a layer attends in a way that is not known, or mixes tokens without attention.
    """
    shape = json.dumps(_shape_of(config), sort_keys=True, default=str)
    return _attention_layers(kind, shape)  # type: ignore[arg-type]  # a class is hashable; its metaclass hides it


def _shape_of(config: PretrainedConfig) -> dict[str, Any]:
    """Return the configuration's values; names and versions play no part."""
    plain = config.to_dict()
    return {name: value for name, value in plain.items() if name not in ("_name_or_path", "transformers_version")}


@lru_cache(maxsize=64)
def _attention_layers(kind: Any, shape: str) -> tuple[LayerAttention, ...]:
    config = kind.config_class.from_dict(json.loads(shape))
    config._attn_implementation = _PROBE
    with torch.device("meta"):
        model = kind(copy.deepcopy(config)).eval()
    names = {module: name for name, module in model.named_modules()}
    found: list[LayerAttention] = []
    tokens = torch.zeros(1, 2, dtype=torch.int64, device="meta")

    def note(module: nn.Module, query: Tensor, mask: Any, soft_cap: float | None, arguments: dict[str, Any]) -> None:
        found.append(_read_layer(config.model_type, names[module], mask, soft_cap, arguments))

    with torch.inference_mode(), _noting(note):
        # A mask of ones, so that the model does not look for packed texts among positions that have no values here.
        model(input_ids=tokens, attention_mask=torch.ones(1, 2, dtype=torch.int64, device="meta"))
    return tuple(found)


Note = Callable[[nn.Module, Tensor, Any, float | None, dict[str, Any]], None]
_note: list[Note] = []


class _noting:
    """Send what the probe's attention sees to a function for the time of the block."""

    def __init__(self, note: Note) -> None:
        self._own = note

    def __enter__(self) -> None:
        _note.append(self._own)

    def __exit__(self, *_: object) -> None:
        _note.pop()


def _read_layer(family: str, name: str, mask: Any, soft_cap: float | None, arguments: dict[str, Any]) -> LayerAttention:
    if unknown := unknown_arguments(arguments):
        raise DataError(
            f"{family}: {name} hands its attention {unknown[0]!r}, which packed attention does not know. "
            "`backbone.packed: false` runs it padded, through transformers' own attention."
        )
    if not isinstance(mask, _Window):
        raise DataError(
            f"{family}: {name} does not take its mask from transformers' mask functions, so what its tokens see is "
            "not known. `backbone.packed: false` runs it padded."
        )
    return LayerAttention(name, mask.before, mask.behind, soft_cap)


def _probe_attention(
    module: nn.Module,
    query_BHLE: Tensor,
    key_BKLE: Tensor,
    value_BKLE: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **arguments: Any,
) -> tuple[Tensor, None]:
    _note[-1](module, query_BHLE, attention_mask, softcap, arguments)
    return query_BHLE.new_empty(*query_BHLE.shape[:3], value_BKLE.shape[-1]).transpose(1, 2), None


def _probe_mask(*_: Any, mask_function: Callable[..., Any], **__: Any) -> _Window:
    """Turn a mask function into the window that it describes: keys seen depend on the distance alone."""
    middle = _row(mask_function, _REACH)
    before, behind = _extent(middle[: _REACH + 1].flip(0)), _extent(middle[_REACH:])
    early = _row(mask_function, _REACH // 3)
    if not torch.equal(early, middle[_REACH - _REACH // 3 :][: len(early)]):
        raise DataError("attention whose window depends on the place in the text (chunks) is not known.")
    return _Window(before, behind)


def _row(mask_function: Callable[..., Any], query: int) -> Tensor:
    """Which keys 0 … 2 · query (both included) a query sees."""
    places = torch.arange(2 * query + 1, device="cpu")
    zero = torch.zeros((), dtype=torch.int64, device="cpu")
    seen = mask_function(zero, zero, torch.tensor(query, device="cpu"), places)
    return torch.as_tensor(seen).expand(len(places))


def _extent(seen: Tensor) -> int | None:
    """How far from the query keys are seen, the query itself first; None where there is no end."""
    if not bool(seen[0]):
        raise DataError("attention in which a token does not see itself is not known.")
    if bool(seen.all()):
        return None
    reach = int((~seen).to(torch.int8).argmax()) - 1
    if bool(seen[reach + 1 :].any()):
        raise DataError("attention whose window has holes is not known.")
    return reach


AttentionInterface.register(_PROBE, _probe_attention)
AttentionMaskInterface.register(_PROBE, _probe_mask)
