"""Attention over packed texts: texts lie end to end, no layer around it computes padding, and no text sees another.

What a token sees of its own text (all of it, what lies before it, a window on either side), and whether scores are
capped, comes from the layer's `LayerAttention`, which `attention_layers` reads off the architecture. `kernels.py`
chooses what computes it: a variable-length kernel on CUDA takes the texts as they are, and `products.py` is the rest.
Registered with transformers under `ATTENTION`; the model's caller passes `packed_texts`. No mask function is registered
beside it: transformers then makes no mask, and does not look for packed texts among the positions (a scalar read, for
which a GPU is waited for).

N = tokens, H = query heads, K = key/value heads, E = head dimension.
"""

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface

from polyglossa.model.attention.kernels import attend_by_kernel, choose_kernel, installed_kernels
from polyglossa.model.attention.layers import layer_attention, unknown_arguments
from polyglossa.model.attention.packed_texts import PackedTexts
from polyglossa.model.attention.products import Products

ATTENTION = "polyglossa_packed"


def packed_attention(
    module: nn.Module,
    query_1HNE: Tensor,
    key_1KNE: Tensor,
    value_1KNE: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    packed_texts: PackedTexts,
    **arguments: Any,
) -> tuple[Tensor, None]:
    """Attend within each text, as the module's layer does; the signature is transformers'.

    Args:
        module: attention module of a model that went through `use_packed_attention`.
        query_1HNE: queries of all texts, one after another.
        key_1KNE: keys.
        value_1KNE: values.
        attention_mask: not used.
        scaling: factor of the scores; None means 1/√E.
        dropout: share of attention weights that is dropped.
        packed_texts: where the texts lie; N tokens in all.
        arguments: what else the architecture hands on; known to change nothing, or refused when the model was loaded.

    Returns:
        [1, N, H, E] and no weights.

    Raises:
        ValueError: an argument that this attention does not know.
    """
    _refuse_unknown(module, arguments)
    layer = layer_attention(module)
    scale = query_1HNE.shape[-1] ** -0.5 if scaling is None else scaling
    query_HNE, key_KNE, value_KNE = query_1HNE[0], key_1KNE[0], value_1KNE[0]
    choice = choose_kernel(
        layer,
        device=value_KNE.device.type,
        dtype=value_KNE.dtype,
        head_width=value_KNE.shape[-1],
        dropout=dropout,
        installed=installed_kernels(),
    )
    if choice.pads:
        products = Products(packed_texts, query_HNE, key_KNE, value_KNE, layer, scale, dropout)
        return products.attend()[None], None
    attended = attend_by_kernel(
        choice, query_HNE, key_KNE, value_KNE, texts=packed_texts, layer=layer, scale=scale, dropout=dropout
    )
    return attended[None], None


def _refuse_unknown(module: nn.Module, arguments: dict[str, Any]) -> None:
    if unknown := unknown_arguments(arguments):
        raise ValueError(
            f"{type(module).__name__}: attention argument {unknown[0]!r} is not known to packed attention."
        )


AttentionInterface.register(ATTENTION, packed_attention)
