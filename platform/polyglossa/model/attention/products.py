"""Attention over packed texts by plain matrix products: what processors compute, and GPUs where no kernel fits.

Runs of neighbours of like length go through products over the heads that share keys, because torch's CPU kernel has a
slow backward at short lengths (2,048 tokens, two layers: 108 ms against 46 ms at 12 tokens a text, 90 and 74 ms at
512). Packed, a batch of short names trained in half the time of padded chunks: a few full passes instead of twelve
small ones, and 11 % fewer tokens.

N = tokens, H = query heads, K = key/value heads, S = H / K, E = head dimension, B = texts of a run, L = its longest,
P = tokens of a shared beginning, T = P + L.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from polyglossa.model.attention.layers import LayerAttention
from polyglossa.model.attention.packed_texts import PackedTexts

_LONGEST_PRODUCTS = 512
_PADDED_SHARE = 0.1


@dataclass(frozen=True)
class Run:
    """Neighbouring texts whose attention is computed together."""

    start: int
    """First token."""
    lengths: tuple[int, ...]
    text: int = 0
    """First text."""

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
def runs_of(lengths: tuple[int, ...], start: int = 0, text: int = 0) -> tuple[Run, ...]:
    """Group neighbours while padding them to their longest adds at most a tenth; long texts stay alone.

    Args:
        lengths: tokens of each text.
        start: token at which the first of them begins.
        text: number of the first of them.
    """
    runs: list[Run] = []
    run = list[int]()
    for length in lengths:
        longest = max([length, *run])
        padded = longest * (len(run) + 1)
        if run and (padded > (1 + _PADDED_SHARE) * (sum(run) + length) or longest > _LONGEST_PRODUCTS):
            runs.append(Run(start, tuple(run), text))
            start, text, run = runs[-1].stop, text + len(run), []
        run.append(length)
    return (*runs, Run(start, tuple(run), text))


def attention_slots(lengths: Sequence[int]) -> int:
    """Count the token slots that attention computes for texts of these lengths, without the CUDA kernel."""
    return sum(run.longest * len(run.lengths) for run in runs_of(tuple(lengths)))


@dataclass(frozen=True)
class Products:
    """Queries, keys and values of one layer, and how they meet."""

    texts: PackedTexts

    query_HNE: Tensor
    key_KNE: Tensor
    value_KNE: Tensor
    layer: LayerAttention
    scale: float
    dropout: float

    def attend(self) -> Tensor:
        """Attend within each text: [N, H, E]."""
        lengths, shared = self.texts.lengths, self.texts.shared_tokens
        if not shared:
            return torch.cat([self._run(run) for run in runs_of(lengths)])
        parts = [self._run(Run(0, lengths[:1]))]
        return torch.cat([*parts, *(self._run(run, shared) for run in runs_of(lengths[1:], shared, 1))])

    def _run(self, run: Run, shared: int = 0) -> Tensor:
        """Attend within a run, behind `shared` tokens that begin all its texts: [tokens of the run, H, E]."""
        if run.longest > _LONGEST_PRODUCTS:
            return self._long(run, shared)
        own = slice(run.start, run.stop)
        query, key, value = self.query_HNE[:, own], self.key_KNE[:, own], self.value_KNE[:, own]
        if not run.even:
            index = self._rows(run, _padded_rows)
            query, key, value = (tensor.index_select(1, index) for tensor in (query, key, value))
        hidden = _hidden(run.longest, shared, self.layer, len(query) // len(key), query.device)
        if not run.even and self.layer.behind != 0:
            beyond = self._rows(run, _beyond)
            hidden = beyond if hidden is None else hidden | beyond
        attended = self._products(query, key, value, len(run.lengths), shared, hidden)
        return attended if run.even else attended.index_select(0, self._rows(run, _real_rows))

    def _rows(self, run: Run, make: Callable[[PackedTexts, Run], Tensor]) -> Tensor:
        """Return what `make` makes of a run: once a pass, for every layer asks."""
        key = (make.__name__, run)
        if key not in self.texts.kept:
            self.texts.kept[key] = make(self.texts, run)
        return self.texts.kept[key]

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


def _outside(distance: Tensor, layer: LayerAttention) -> Tensor:
    """Which keys a query does not see, from how far they lie before it (negative: behind it)."""
    hidden = torch.zeros_like(distance, dtype=torch.bool)
    if layer.before is not None:
        hidden |= distance > layer.before
    if layer.behind is not None:
        hidden |= distance < -layer.behind
    return hidden


@lru_cache(maxsize=256)
# What is kept for later calls must serve training too, also where inference asked for it first.
@torch.inference_mode(mode=False)
def _hidden(longest: int, shared: int, layer: LayerAttention, groups: int, device: torch.device) -> Tensor | None:
    """Which keys queries of texts of one length do not see: [S · L, T]; None where they see all."""
    far_before = layer.before is not None and shared + longest - 1 > layer.before
    far_behind = layer.behind is not None and longest - 1 > layer.behind
    if not (far_before or far_behind):
        return None
    places = torch.arange(shared + longest, device=device)
    return _outside(places[shared:, None] - places, layer).repeat(groups, 1)


def _own(texts: PackedTexts, run: Run) -> tuple[Tensor, Tensor]:
    """Lengths of a run's texts, and where they begin in the run."""
    of_run = slice(run.text, run.text + len(run.lengths))
    return texts.lengths_B[of_run], texts.starts_B[of_run] - run.start


def _beyond(texts: PackedTexts, run: Run) -> Tensor:
    """Which keys are padding: [B, 1, T]."""
    shared = texts.shared_tokens if run.text else 0
    places_T = torch.arange(shared + run.longest, device=texts.device)
    return (places_T >= shared + _own(texts, run)[0][:, None])[:, None]


def _padded_rows(texts: PackedTexts, run: Run) -> Tensor:
    """Token of each slot when every text is padded to the longest with its own last token."""
    lengths_B, starts_B = _own(texts, run)
    places_L = torch.arange(run.longest, device=texts.device)
    return (starts_B[:, None] + torch.minimum(places_L, lengths_B[:, None] - 1)).flatten()


def _real_rows(texts: PackedTexts, run: Run) -> Tensor:
    """Slot of each token, the inverse of `_padded_rows`."""
    lengths_B, starts_B = _own(texts, run)
    tokens = sum(run.lengths)
    before_B = torch.arange(len(run.lengths), device=texts.device) * run.longest - starts_B
    return torch.arange(tokens, device=texts.device) + before_B.repeat_interleave(lengths_B, output_size=tokens)
