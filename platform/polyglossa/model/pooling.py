"""From the hidden states of packed texts to one state per text.

To add one: write a function of hidden states and lengths, name it in `POOLINGS`, and let `Pooling` of
`recipe/sections/backbone.py` take the name.

N = tokens of all texts, end to end; B = texts; D = width of the backbone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Pool = Callable[[Tensor, Tensor], Tensor]
"""hidden_ND, lengths_B → state_BD."""


@dataclass(frozen=True)
class Pooling:
    """One way to pool, and what sentence-transformers calls it."""

    pool: Pool
    stock_name: str | None = None
    """In `1_Pooling/config.json` since release 5; None: it has no such pooling, and says so where it reads a model."""
    stock_key: str | None = None
    """The key that older releases read."""


def pool_last(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Take each text's last token."""
    return hidden_ND[lengths_B.cumsum(0) - 1]


def pool_first(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Take each text's first token ([CLS])."""
    return hidden_ND[lengths_B.cumsum(0) - lengths_B]


def pool_mean(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Average each text's tokens."""
    return _sum(hidden_ND, lengths_B) / lengths_B[:, None]


def pool_mean_root(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Add up each text's tokens and divide by the root of their number."""
    return _sum(hidden_ND, lengths_B) / lengths_B[:, None].sqrt()


def pool_weighted_mean(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Average each text's tokens with weights 1, 2, 3, … (SGPT, arXiv 2202.08904)."""
    starts_N = (lengths_B.cumsum(0) - lengths_B).repeat_interleave(lengths_B, output_size=len(hidden_ND))
    weights_N = torch.arange(1, len(hidden_ND) + 1, device=hidden_ND.device) - starts_N
    total_B = (lengths_B * (lengths_B + 1) / 2).to(torch.float64 if hidden_ND.dtype == torch.float64 else torch.float32)
    return _sum(hidden_ND * weights_N[:, None], lengths_B) / total_B[:, None]


def pool_max(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Take the largest value of each channel over each text's tokens."""
    index_ND = _text_of(hidden_ND, lengths_B)[:, None].expand_as(hidden_ND)
    lowest_BD = hidden_ND.new_full((len(lengths_B), hidden_ND.shape[1]), float("-inf"))
    return lowest_BD.scatter_reduce(0, index_ND, hidden_ND, "amax")


POOLINGS: Mapping[str, Pooling] = {
    "cls": Pooling(pool_first, "cls", "pooling_mode_cls_token"),
    "max": Pooling(pool_max, "max", "pooling_mode_max_tokens"),
    "mean": Pooling(pool_mean, "mean", "pooling_mode_mean_tokens"),
    "mean_sqrt_len": Pooling(pool_mean_root, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"),
    "weighted_mean": Pooling(pool_weighted_mean, "weightedmean", "pooling_mode_weightedmean_tokens"),
    "last": Pooling(pool_last, "lasttoken", "pooling_mode_lasttoken"),
}
"""Poolings by the recipe's names, in the order in which sentence-transformers puts several side by side."""


def _text_of(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    texts_B = torch.arange(len(lengths_B), device=hidden_ND.device)
    return texts_B.repeat_interleave(lengths_B, output_size=len(hidden_ND))


def _sum(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Add up the tokens of each text, in float32 at least: [B, D]."""
    dtype = torch.promote_types(hidden_ND.dtype, torch.float32)
    sum_BD = torch.zeros(len(lengths_B), hidden_ND.shape[1], dtype=dtype, device=hidden_ND.device)
    return sum_BD.index_add(0, _text_of(hidden_ND, lengths_B), hidden_ND.to(dtype))
