"""Which kernel computes a layer's attention, why, and how it is called.

    choice = choose_kernel(layer, device=…, dtype=…, head_width=…, dropout=…, installed=installed_kernels())

Torch's variable-length kernel comes first: it is always there. `flash_attn_varlen_func` takes what torch's cannot
(dropout, soft caps, windows before torch 2.11), and plain products take the rest, on processors everything. One
function decides, and a training's manifest holds what it said of each layer.

N = tokens, H = query heads, K = key/value heads, E = head dimension.
"""

import importlib.util
import inspect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from polyglossa.model.attention.layers import LayerAttention
from polyglossa.model.attention.packed_texts import PackedTexts

_DTYPES = (torch.bfloat16, torch.float16)
_WIDEST_HEAD = 256
_HEAD_MULTIPLE = 8


@dataclass(frozen=True)
class Installed:
    """What this machine's libraries bring."""

    torch_version: str
    torch_arguments: frozenset[str]
    """Arguments of torch's variable-length kernel; none where this torch has no such kernel."""
    flash_attn: bool


@dataclass(frozen=True)
class KernelChoice:
    """What computes a layer's attention, and why."""

    kernel: Literal["torch", "flash_attn", "products"]
    reason: str

    @property
    def pads(self) -> bool:
        """Whether neighbours of unlike length are padded to the longest."""
        return self.kernel == "products"


@lru_cache(maxsize=1)
def installed_kernels() -> Installed:
    """Look at torch's kernel and for flash-attn."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        arguments = frozenset[str]()
    else:
        arguments = frozenset(inspect.signature(varlen_attn).parameters)
    flash = importlib.util.find_spec("flash_attn") is not None
    return Installed(torch.__version__, arguments, flash)


def choose_kernel(
    layer: LayerAttention,
    *,
    device: str,
    dtype: torch.dtype,
    head_width: int,
    dropout: float,
    installed: Installed,
) -> KernelChoice:
    """Choose what computes a layer. Pure.

    Args:
        layer: what its tokens see.
        device: kind of device, `cuda` or another.
        dtype: of the values: norms leave queries and keys in float32, and they are cast to it.
        head_width: E.
        dropout: share of attention weights that is dropped.
        installed: what libraries there are.
    """
    if device != "cuda":
        return KernelChoice("products", f"variable-length kernels run on CUDA, not on {device}")
    if dtype not in _DTYPES:
        return KernelChoice("products", f"kernels compute bfloat16 and float16, not {_name(dtype)}")
    if head_width > _WIDEST_HEAD or head_width % _HEAD_MULTIPLE:
        return KernelChoice("products", f"kernels take heads of 8, 16 … {_WIDEST_HEAD}, not of {head_width}")
    lacking = _torch_lacks(layer, dropout, installed)
    if not lacking:
        return KernelChoice("torch", "torch's variable-length kernel does all that the layer asks for")
    if not installed.flash_attn:
        return KernelChoice("products", f"torch's kernel has no {lacking}, and flash-attn is not installed")
    if dropout and layer.soft_cap is not None:
        return KernelChoice("products", "no kernel has dropout and a soft cap together")
    return KernelChoice("flash_attn", f"torch's kernel has no {lacking}")


def _torch_lacks(layer: LayerAttention, dropout: float, installed: Installed) -> str | None:
    if not installed.torch_arguments:
        return f"counterpart in torch {installed.torch_version}"
    if layer.soft_cap is not None:
        return "soft cap"
    if dropout:
        return "dropout"
    missing = {"scale", "window_size"} - installed.torch_arguments
    return f"{' and no '.join(sorted(missing))} in torch {installed.torch_version}" if missing else None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def attend_by_kernel(
    choice: KernelChoice,
    query_HNE: Tensor,
    key_KNE: Tensor,
    value_KNE: Tensor,
    *,
    texts: PackedTexts,
    layer: LayerAttention,
    scale: float,
    dropout: float,
) -> Tensor:
    """Attend within each text by the chosen kernel: [N, H, E].

    Behind a shared beginning a text's keys are that beginning and its own; kernels align queries with the last keys.
    """
    query_NHE, key_NKE, value_NKE = (tensor.transpose(0, 1) for tensor in (query_HNE, key_KNE, value_KNE))
    query_NHE, key_NKE = query_NHE.to(value_NKE.dtype), key_NKE.to(value_NKE.dtype)
    if texts.shared_tokens:
        key_NKE, value_NKE = (tensor.index_select(0, texts.key_rows) for tensor in (key_NKE, value_NKE))
    attend = _flash_attn if choice.kernel == "flash_attn" else _torch_varlen
    return attend(query_NHE, key_NKE, value_NKE, texts, layer, scale, dropout)


def _torch_varlen(
    query_NHE: Tensor,
    key_NKE: Tensor,
    value_NKE: Tensor,
    texts: PackedTexts,
    layer: LayerAttention,
    scale: float,
    dropout: float,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    # torch 2.11 lets query heads share keys unasked; later releases want to be told.
    grouped: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in installed_kernels().torch_arguments else {}
    attended = varlen_attn(
        query_NHE, key_NKE, value_NKE, texts.bounds, texts.key_bounds, texts.longest, texts.longest_key,
        scale=scale, window_size=_window(layer), **grouped,
    )  # fmt: skip
    assert isinstance(attended, Tensor)
    return attended


def _flash_attn(
    query_NHE: Tensor,
    key_NKE: Tensor,
    value_NKE: Tensor,
    texts: PackedTexts,
    layer: LayerAttention,
    scale: float,
    dropout: float,
) -> Tensor:
    from flash_attn import flash_attn_varlen_func

    attended: Tensor = flash_attn_varlen_func(
        query_NHE, key_NKE, value_NKE, texts.bounds, texts.key_bounds, texts.longest, texts.longest_key,
        dropout_p=dropout, softmax_scale=scale, causal=layer.behind == 0, window_size=_window(layer),
        softcap=layer.soft_cap or 0.0,
    )  # fmt: skip
    return attended


def _window(layer: LayerAttention) -> tuple[int, int]:
    """Tokens seen before and behind a query, −1 for all."""
    return -1 if layer.before is None else layer.before, -1 if layer.behind is None else layer.behind


def chosen_kernels(backbone: nn.Module, *, device: str, dtype: str) -> list[dict[str, Any]]:
    """Say what computes the attention of a model's layers, for manifests: kernel, reason, number of layers.

    Args:
        backbone: a model that went through `use_packed_attention`.
        device: kind of device.
        dtype: what is computed in.
    """
    dropped = float(getattr(backbone.config, "attention_dropout", 0.0) or 0.0)
    choices = Counter(
        choose_kernel(
            layer,
            device=device,
            dtype=getattr(torch, dtype),
            head_width=width,
            dropout=dropped,
            installed=installed_kernels(),
        )
        for layer, width in _attending(backbone)
    )
    return [{"kernel": choice.kernel, "reason": choice.reason, "layers": count} for choice, count in choices.items()]


def _attending(backbone: nn.Module) -> Iterator[tuple[LayerAttention, int]]:
    config: Any = backbone.config
    usual = config.hidden_size // config.num_attention_heads
    for module in backbone.modules():
        layer = module.__dict__.get("layer_attention")
        if isinstance(layer, LayerAttention):
            yield layer, int(getattr(module, "head_dim", None) or getattr(config, "head_dim", None) or usual)
