"""Attention over packed texts: texts lie end to end, no layer around it computes padding, and no text sees another.

What a token sees of its own text (all of it, what lies before it, a window on either side), and whether scores are
capped, comes from the layer's `LayerAttention`, which `attention_layers` reads off the architecture. On CUDA torch's
variable-length kernel takes the texts as they are. Elsewhere, runs of neighbours of like length go through plain matrix
products over the heads that share keys, because torch's CPU kernel has a slow backward at short lengths (2,048 tokens,
two layers: 108 ms against 46 ms at 12 tokens a text, 90 and 74 ms at 512). Packed, a batch of short names trained in
half the time of padded chunks: a few full passes instead of twelve small ones, and 11 % fewer tokens.
Registered with transformers under `ATTENTION`; the model's caller passes `text_lengths`.

N = tokens, H = query heads, K = key/value heads, S = H / K, E = head dimension, B = texts of a run, L = its longest,
P = tokens of a shared beginning, T = P + L.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from polyglossa.model.attention.layers import HARMLESS_ARGUMENTS, LayerAttention, layer_attention

ATTENTION = "polyglossa_packed"
_LONGEST_PRODUCTS = 512
_PADDED_SHARE = 0.1
_KERNEL_DTYPES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Run:
    """Neighbouring texts whose attention is computed together."""

    start: int
    """First token."""
    lengths: tuple[int, ...]

    @property
    def stop(self) -> int:
        """One past the last token."""
        return self.start + sum(self.lengths)

    @property
    def longest(self) -> int:
        """L."""
        return max(self.lengths)

    @property
    def even(self) -> bool:
        """Whether all texts are of one length, so that nothing is padded."""
        return min(self.lengths) == self.longest


@lru_cache(maxsize=256)
def runs_of(lengths: tuple[int, ...], start: int = 0) -> tuple[Run, ...]:
    """Group neighbours while padding them to their longest adds at most a tenth; long texts stay alone.

    Args:
        lengths: tokens of each text.
        start: token at which the first of them begins.
    """
    runs: list[Run] = []
    run = list[int]()
    for length in lengths:
        longest = max([length, *run])
        padded = longest * (len(run) + 1)
        if run and (padded > (1 + _PADDED_SHARE) * (sum(run) + length) or longest > _LONGEST_PRODUCTS):
            runs.append(Run(start, tuple(run)))
            start, run = runs[-1].stop, []
        run.append(length)
    return (*runs, Run(start, tuple(run)))


def attention_slots(lengths: Sequence[int]) -> int:
    """Count the token slots that attention computes for texts of these lengths, without the CUDA kernel."""
    return sum(run.longest * len(run.lengths) for run in runs_of(tuple(lengths)))


def packed_attention(
    module: nn.Module,
    query_1HNE: Tensor,
    key_1KNE: Tensor,
    value_1KNE: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    text_lengths: Sequence[int],
    shared_tokens: int = 0,
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
        text_lengths: tokens of each text; they sum to N.
        shared_tokens: P; where it is not 0, the first text is the beginning of all others, which see it and themselves.
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
    if _has_kernel(value_KNE, layer, dropout) and not shared_tokens:
        query_HNE, key_KNE = query_HNE.to(value_KNE.dtype), key_KNE.to(value_KNE.dtype)
        return _kernel(query_HNE, key_KNE, value_KNE, text_lengths, scale, layer)[None], None
    attend = _Attend(query_HNE, key_KNE, value_KNE, layer, scale, dropout)
    lengths = tuple(text_lengths)
    if not shared_tokens:
        return torch.cat([attend.run(run) for run in runs_of(lengths)])[None], None
    parts = [attend.run(Run(0, lengths[:1]))]
    parts += [attend.run(run, shared_tokens) for run in runs_of(lengths[1:], shared_tokens)]
    return torch.cat(parts)[None], None


def _refuse_unknown(module: nn.Module, arguments: dict[str, Any]) -> None:
    unknown = [name for name, value in arguments.items() if value is not None and name not in HARMLESS_ARGUMENTS]
    if unknown:
        raise ValueError(
            f"{type(module).__name__}: attention argument {unknown[0]!r} is not known to packed attention."
        )


def _has_kernel(value_KNE: Tensor, layer: LayerAttention, dropout: float) -> bool:
    """Whether CUDA's kernel computes this layer. The values' dtype decides: norms leave queries and keys in float32."""
    return value_KNE.is_cuda and not dropout and layer.soft_cap is None and value_KNE.dtype in _KERNEL_DTYPES


def _kernel(
    query_HNE: Tensor, key_KNE: Tensor, value_KNE: Tensor, lengths: Sequence[int], scale: float, layer: LayerAttention
) -> Tensor:
    bounds = torch.tensor([0, *lengths], device=query_HNE.device).cumsum(0).to(torch.int32)
    query_NHE, key_NKE, value_NKE = (tensor.transpose(0, 1) for tensor in (query_HNE, key_KNE, value_KNE))
    longest = max(lengths)
    window = (-1 if layer.before is None else layer.before, -1 if layer.behind is None else layer.behind)
    attended = varlen_attn(
        query_NHE, key_NKE, value_NKE, bounds, bounds, longest, longest,
        scale=scale, window_size=window, enable_gqa=True,
    )  # fmt: skip
    assert isinstance(attended, Tensor)
    return attended


@dataclass(frozen=True)
class _Attend:
    """Queries, keys and values of one layer, and how they meet."""

    query_HNE: Tensor
    key_KNE: Tensor
    value_KNE: Tensor
    layer: LayerAttention
    scale: float
    dropout: float

    def run(self, run: Run, shared: int = 0) -> Tensor:
        """Attend within a run, behind `shared` tokens that begin all its texts: [tokens of the run, H, E]."""
        if run.longest > _LONGEST_PRODUCTS:
            return self._long(run, shared)
        own = slice(run.start, run.stop)
        query, key, value = self.query_HNE[:, own], self.key_KNE[:, own], self.value_KNE[:, own]
        if not run.even:
            index = _padded_rows(run.lengths, query.device)
            query, key, value = (tensor.index_select(1, index) for tensor in (query, key, value))
        hidden = _hidden(run.longest, shared, self.layer, len(query) // len(key), query.device)
        if not run.even and self.layer.behind != 0:
            beyond = _beyond(run.lengths, shared, query.device)
            hidden = beyond if hidden is None else hidden | beyond
        attended = self._products(query, key, value, len(run.lengths), shared, hidden)
        return attended if run.even else attended.index_select(0, _real_rows(run.lengths, query.device))

    def _long(self, run: Run, shared: int) -> Tensor:
        """Attend within one long text, which is a run of its own: by torch's kernel, or by blocks of queries."""
        own = slice(run.start, run.stop)
        query, key, value = self.query_HNE[:, own], self._behind(self.key_KNE, own, shared), self.value_KNE
        value = self._behind(value, own, shared)
        plain = self.layer.before is None and self.layer.behind in (0, None) and self.layer.soft_cap is None
        if plain and not shared:
            attended = nn.functional.scaled_dot_product_attention(
                query[None], key[None], value[None],
                is_causal=self.layer.behind == 0, scale=self.scale, dropout_p=self.dropout,
                enable_gqa=len(query) != len(key),
            )  # fmt: skip
            return attended[0].transpose(0, 1)
        blocks = range(0, run.longest, _LONGEST_PRODUCTS)
        return torch.cat([self._block(query, key, value, start, shared) for start in blocks])

    def _block(self, query: Tensor, key: Tensor, value: Tensor, start: int, shared: int) -> Tensor:
        """Attend from `_LONGEST_PRODUCTS` queries of a long text, to no more keys than they see."""
        stop = min(start + _LONGEST_PRODUCTS, query.shape[1])
        layer, total = self.layer, key.shape[1]
        first = 0 if layer.before is None else max(0, shared + start - layer.before)
        last = total if layer.behind is None else min(total, shared + stop + layer.behind)
        distance_LT = torch.arange(shared + start, shared + stop, device=query.device)[:, None] - torch.arange(
            first, last, device=query.device
        )
        hidden = _outside(distance_LT, layer).repeat(len(query) // len(key), 1)
        return self._products(query[:, start:stop], key[:, first:last], value[:, first:last], 1, 0, hidden)

    def _behind(self, tensor_KNE: Tensor, own: slice, shared: int) -> Tensor:
        """Put a text's own tokens behind the shared beginning."""
        return torch.cat([tensor_KNE[:, :shared], tensor_KNE[:, own]], 1) if shared else tensor_KNE[:, own]

    def _products(
        self, query_HNE: Tensor, key_KNE: Tensor, value_KNE: Tensor, texts: int, shared: int, hidden: Tensor | None
    ) -> Tensor:
        """Attend within texts of one length by matrix products, the heads that share keys side by side: [B·L, H, E].

        `hidden` says which keys a query does not see; it broadcasts to the scores [K, B, S · L, T].
        """
        heads, tokens, width = query_HNE.shape
        groups, longest = len(key_KNE), tokens // texts
        query_KBXE = query_HNE.reshape(groups, heads // groups, texts, longest, width).transpose(1, 2)
        query_KBXE = query_KBXE.reshape(groups, texts, heads // groups * longest, width)
        key_KBTE = key_KNE.reshape(groups, texts, -1, width)
        value_KBTE = value_KNE.reshape(groups, texts, -1, width)
        if shared:
            key_KBTE = torch.cat([self.key_KNE[:, None, :shared].expand(-1, texts, -1, -1), key_KBTE], 2)
            value_KBTE = torch.cat([self.value_KNE[:, None, :shared].expand(-1, texts, -1, -1), value_KBTE], 2)
        scores_KBXT = query_KBXE @ key_KBTE.transpose(-1, -2) * self.scale
        if self.layer.soft_cap is not None:
            scores_KBXT = torch.tanh(scores_KBXT / self.layer.soft_cap) * self.layer.soft_cap
        if hidden is not None:
            scores_KBXT = scores_KBXT.masked_fill(hidden, float("-inf"))
        shares_KBXT = torch.softmax(scores_KBXT, dim=-1)
        if self.dropout:
            shares_KBXT = nn.functional.dropout(shares_KBXT, self.dropout)
        attended = (shares_KBXT @ value_KBTE).view(groups, texts, heads // groups, longest, width)
        return attended.permute(1, 3, 0, 2, 4).reshape(tokens, heads, width)


# What is kept for later calls must serve training too, also where inference asked for it first.
_kept = torch.inference_mode(mode=False)


def _outside(distance: Tensor, layer: LayerAttention) -> Tensor:
    """Which keys a query does not see, from how far they lie before it (negative: behind it)."""
    hidden = torch.zeros_like(distance, dtype=torch.bool)
    if layer.before is not None:
        hidden |= distance > layer.before
    if layer.behind is not None:
        hidden |= distance < -layer.behind
    return hidden


@lru_cache(maxsize=256)
@_kept
def _hidden(longest: int, shared: int, layer: LayerAttention, groups: int, device: torch.device) -> Tensor | None:
    """Which keys queries of texts of one length do not see: [S · L, T]; None where they see all."""
    places = torch.arange(shared + longest, device=device)
    hidden_LT = _outside(places[shared:, None] - places, layer)
    return hidden_LT.repeat(groups, 1) if hidden_LT.any() else None


@lru_cache(maxsize=64)
@_kept
def _beyond(lengths: tuple[int, ...], shared: int, device: torch.device) -> Tensor:
    """Which keys are padding: [B, 1, T]."""
    places_T = torch.arange(shared + max(lengths), device=device)
    return (places_T >= shared + torch.tensor(lengths, device=device)[:, None])[:, None]


@lru_cache(maxsize=256)
@_kept
def _padded_rows(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Token of each slot when every text is padded to the longest with its own last token."""
    longest, rows, start = max(lengths), list[int](), 0
    for length in lengths:
        rows += [start + min(place, length - 1) for place in range(longest)]
        start += length
    return torch.tensor(rows, device=device)


@lru_cache(maxsize=256)
@_kept
def _real_rows(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Slot of each token, the inverse of `_padded_rows`."""
    longest = max(lengths)
    rows = [text * longest + place for text, length in enumerate(lengths) for place in range(length)]
    return torch.tensor(rows, device=device)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, _no_mask)
