"""Matryoshka widths and their weights, as F2LLM-v2 publishes them (and uniform).

The n-th largest width d of D weighs 1/(n·√(D/d)); weights are not normalised; prefixes are re-normalised by the
contrastive terms, which take cosines.
"""

import math
from collections.abc import Sequence


def widths(hidden: int) -> tuple[int, ...]:
    """Return the powers of two from 8 below the hidden size, and the hidden size, ascending."""
    powers = tuple(2**exponent for exponent in range(3, hidden.bit_length()) if 2**exponent < hidden)
    return (*powers, hidden)


def weights(widths: Sequence[int], kind: str) -> tuple[float, ...]:
    """Return the weight of each width, in the order given.

    Args:
        widths: distinct widths; the largest is the full one.
        kind: `published`, 1/(n·√(D/d)) for the n-th largest, or `uniform`, 1 each.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "uniform":
        return tuple(1.0 for _ in widths)
    if kind != "published":
        raise ValueError(f"matryoshka weights: got {kind!r}; allowed are 'published' and 'uniform'")
    rank = {width: place for place, width in enumerate(sorted(widths, reverse=True), start=1)}
    full = max(widths)
    return tuple(1.0 / (rank[width] * math.sqrt(full / width)) for width in widths)
