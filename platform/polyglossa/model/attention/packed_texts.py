"""Where the texts of one pass lie, on the host and on the device: made once a pass, read by every layer.

A layer makes no tensor from Python values: on a GPU each would be a copy that the host waits for (28 layers made 28
`bounds` a pass). Only the lengths travel; all else is computed where the tokens are.

N = tokens, B = texts, P = tokens of a shared beginning.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from polyglossa.runtime.transfer import send


class PackedTexts:
    """Texts that lie end to end.

    Attributes:
        lengths: tokens of each text.
        shared_tokens: P; where it is not 0, the first text is the beginning of all others, which are given without it.
        tokens: N.
        device: where the tokens are.
        lengths_B: int64, on the device.
        kept: what layers made of the texts, for the layers behind them.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device | str, *, shared_tokens: int = 0) -> None:
        self.lengths = tuple(lengths)
        self.shared_tokens = shared_tokens
        self.tokens = sum(self.lengths)
        self.device = torch.device(device)
        self.kept: dict[Any, Tensor] = {}
        self.lengths_B = send(torch.tensor(self.lengths, dtype=torch.int64), device)

    @cached_property
    def starts_B(self) -> Tensor:
        """First token of each text."""
        return self.lengths_B.cumsum(0) - self.lengths_B

    @cached_property
    def places_N(self) -> Tensor:
        """Place of each token in its text; behind a shared beginning, counted from where that begins."""
        return torch.arange(self.tokens, device=self.device) - self._repeat(self.starts_B - self._behind_B)

    @cached_property
    def text_N(self) -> Tensor:
        """Text of each token."""
        return self._repeat(torch.arange(len(self.lengths), device=self.device))

    @property
    def longest(self) -> int:
        """Tokens of the longest text, without a shared beginning."""
        return max(self.lengths)

    @property
    def longest_key(self) -> int:
        """Most tokens that a text sees."""
        return max(self.lengths[0], *(length + self.shared_tokens for length in self.lengths[1:]))

    @cached_property
    def bounds(self) -> Tensor:
        """int32 [B + 1]: where each text begins, and the end."""
        return _bounds(self.lengths_B)

    @cached_property
    def key_bounds(self) -> Tensor:
        """int32 [B + 1]: the same for the keys that texts see, each behind its own copy of the shared beginning."""
        return _bounds(self.lengths_B + self._behind_B) if self.shared_tokens else self.bounds

    @cached_property
    def key_rows(self) -> Tensor:
        """Token of each key, where every text but the first sees the shared beginning and then itself."""
        keys = self.tokens + self.shared_tokens * (len(self.lengths) - 1)
        seen_B = self.lengths_B + self._behind_B
        ends_B = seen_B.cumsum(0)
        place_K = torch.arange(keys, device=self.device) - (ends_B - seen_B).repeat_interleave(seen_B, output_size=keys)
        own_K = (self.starts_B - self._behind_B).repeat_interleave(seen_B, output_size=keys) + place_K
        return torch.where(place_K < self.shared_tokens, place_K, own_K)

    @cached_property
    def _behind_B(self) -> Tensor:
        """Tokens of the shared beginning that each text stands behind."""
        behind_B = torch.full_like(self.lengths_B, self.shared_tokens)
        behind_B[:1] = 0
        return behind_B

    def _repeat(self, value_B: Tensor) -> Tensor:
        return value_B.repeat_interleave(self.lengths_B, output_size=self.tokens)


def _bounds(lengths_B: Tensor) -> Tensor:
    return torch.nn.functional.pad(lengths_B.cumsum(0), (1, 0)).to(torch.int32)
