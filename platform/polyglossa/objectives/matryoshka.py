"""Matryoshka widths and their weights: as F2LLM-v2 publishes them, uniform, or learned.

The n-th largest width d of D weighs 1/(n·√(D/d)); weights are not normalised; prefixes are re-normalised by the
contrastive terms, which take cosines. Learned weights start as the published ones; each width pays −log of its weight,
so that none gains by weighing nothing and at rest each weighs 1 / its loss (arXiv 1705.07115).
"""

import math
from collections.abc import Sequence

from torch import Tensor

LEARNED_BOUNDS = (1e-3, 10.0)
"""Least and largest learned weight."""


def widths(hidden: int) -> tuple[int, ...]:
    """Return the powers of two from 8 below the hidden size, and the hidden size, ascending."""
    powers = tuple(2**exponent for exponent in range(3, hidden.bit_length()) if 2**exponent < hidden)
    return (*powers, hidden)


def weights(widths: Sequence[int], kind: str) -> tuple[float, ...]:
    """Return the weight of each width, in the order given.

    Args:
        widths: distinct widths; the largest is the full one.
        kind: `published`, 1/(n·√(D/d)) for the n-th largest, which `learned` starts from; or `uniform`, 1 each.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "uniform":
        return tuple(1.0 for _ in widths)
    if kind not in ("published", "learned"):
        raise ValueError(f"matryoshka weights: got {kind!r}; allowed are 'published', 'uniform' and 'learned'")
    rank = {width: place for place, width in enumerate(sorted(widths, reverse=True), start=1)}
    full = max(widths)
    return tuple(1.0 / (rank[width] * math.sqrt(full / width)) for width in widths)


def learned_weights(log_weight_K: Tensor) -> tuple[Tensor, Tensor]:
    """Turn learned logarithms into the widths' weights.

    Args:
        log_weight_K: one of each width.

    Returns:
        weight_K, and what they cost: −Σ log weight (scalar), to be added to the loss once.
    """
    low, high = LEARNED_BOUNDS
    bounded_K = log_weight_K.clamp(math.log(low), math.log(high))
    return bounded_K.exp(), -bounded_K.sum()
