"""Attention of the packed path against float64: outputs and gradients, for every way in which a layer may attend."""

import torch
from shared.gpu.models import Scale
from shared.gpu.supervise import Json
from torch import Tensor, nn

from polyglossa.model.attention.kernels import choose_kernel, installed_kernels
from polyglossa.model.attention.layers import LayerAttention
from polyglossa.model.attention.packed import packed_attention
from polyglossa.model.attention.packed_texts import PackedTexts

_WAYS = {
    "causal": LayerAttention("", None, 0),
    "both_ways": LayerAttention("", None, None),
    "window": LayerAttention("", 100, 0),
    "window_both_ways": LayerAttention("", 64, 64),
    "soft_cap": LayerAttention("", None, 0, 30.0),
}
_WORST = 2e-2


def check_kernels(scale: Scale) -> Json:
    """Return the largest relative distance of output and gradients, by way of attending, and what computed it."""
    lengths = [1, 7, 64, 129, 300, 1024, 5] if scale.gpu else [1, 7, 30, 5]
    heads, kv_heads, width = (16, 8, 128) if scale.gpu else (4, 2, 8)
    found: Json = {}
    for name, layer in _WAYS.items():
        dtype = torch.bfloat16 if scale.gpu else torch.float32
        choice = choose_kernel(
            layer, device=scale.device, dtype=dtype, head_width=width, dropout=0.0, installed=installed_kernels()
        )
        found[name] = {"kernel": choice.kernel, "reason": choice.reason}
        found[name]["distance"] = _distance(layer, lengths, heads, kv_heads, width, scale.device, dtype)
    bad = {name: one for name, one in found.items() if one["distance"] > _WORST}
    if bad:
        raise AssertionError(f"further than {_WORST} from float64: {bad}")
    return found


def _distance(
    layer: LayerAttention, lengths: list[int], heads: int, kv_heads: int, width: int, device: str, dtype: torch.dtype
) -> float:
    module, tokens = nn.Module(), sum(lengths)
    module.layer_attention = layer  # type: ignore[assignment]
    generator = torch.Generator(device).manual_seed(0)

    def draw(count: int) -> Tensor:
        drawn = torch.randn(count, tokens, width, device=device, generator=generator).to(dtype)
        return drawn.requires_grad_()

    given = (draw(heads), draw(kv_heads), draw(kv_heads))
    texts = PackedTexts(lengths, device)
    out_NHE = packed_attention(module, *(tensor[None] for tensor in given), None, packed_texts=texts)[0][0]
    upstream = torch.randn(out_NHE.shape, device=device, generator=generator).to(dtype)
    got = (out_NHE, *torch.autograd.grad(out_NHE, given, upstream))
    exact = tuple(tensor.detach().double().requires_grad_() for tensor in given)
    reference = _reference(layer, *exact, lengths)
    expected = (reference, *torch.autograd.grad(reference, exact, upstream.double()))
    return max(float((one.double() - two).norm() / two.norm()) for one, two in zip(got, expected, strict=True))


def _reference(
    layer: LayerAttention, query_HNE: Tensor, key_KNE: Tensor, value_KNE: Tensor, lengths: list[int]
) -> Tensor:
    """Attend text by text as the definition says: [N, H, E]."""
    groups, parts, start = len(query_HNE) // len(key_KNE), [], 0
    for length in lengths:
        own = slice(start, start + length)
        start += length
        key, value = (tensor[:, own].repeat_interleave(groups, 0) for tensor in (key_KNE, value_KNE))
        scores = query_HNE[:, own] @ key.transpose(1, 2) * query_HNE.shape[-1] ** -0.5
        if layer.soft_cap is not None:
            scores = torch.tanh(scores / layer.soft_cap) * layer.soft_cap
        places = torch.arange(length, device=scores.device)
        before = places[:, None] - places
        hidden = torch.zeros_like(before, dtype=torch.bool)
        if layer.before is not None:
            hidden |= before > layer.before
        if layer.behind is not None:
            hidden |= before < -layer.behind
        parts.append((scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value).transpose(0, 1))
    return torch.cat(parts)
