"""From the texts of a global batch to chunks, and from chunks to ranks.

Chunks are cut from lengths alone: texts sorted by length, padded size within a token budget. Only then are whole chunks
dealt to ranks, so for any world size the same texts share a chunk, with the same padding and the same dropout seed.
Their number is rounded up to a multiple of a power of two, so that ranks get equal counts of about equal size; what
is still missing is filled with dummies, because unequal counts crash ZeRO 2 and hang ZeRO 3.

Legend: T texts in table order (longest first, chunk after chunk), C chunks, R table rows of a rank.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DUMMY = -1
_FEWEST, _MOST = 4, 64  # chunk counts are multiples of a power of two between these


@dataclass(frozen=True)
class Chunks:
    """How the texts of a global batch are grouped, whatever the world size."""

    order_T: Ints
    """Table row → the text's number in the caller's order."""
    bounds_C1: Ints
    """Chunk c covers table rows [bounds[c], bounds[c + 1])."""
    padded_tokens: int
    """Tokens of all chunks, each padded to its longest text."""

    @property
    def count(self) -> int:
        """C."""
        return len(self.bounds_C1) - 1


@dataclass(frozen=True)
class Deal:
    """Which rank runs which chunks."""

    chunk_WS: Ints
    """[world, slots]: number of the chunk, or DUMMY."""
    rows_per_rank: int
    """Most table rows of one rank."""
    gather_T: Ints
    """Table row → its position among the gathered [world × rows_per_rank] states."""


def chunk_texts(length_T: Ints, chunk_tokens: int) -> Chunks:
    """Group texts of like length into chunks within a token budget.

    Args:
        length_T: tokens of each text, in any order.
        chunk_tokens: largest padded size of a chunk; a longer text stands alone.
    """
    order = np.argsort(-length_T, kind="stable")
    lengths = length_T[order]
    fewest = len(_cut(lengths, chunk_tokens)) - 1
    count = min(len(lengths), _rounded(fewest))
    bounds = _cut(lengths, _smallest_budget(lengths, chunk_tokens, count))
    padded = int((lengths[bounds[:-1]] * np.diff(bounds)).sum())
    return Chunks(order, bounds, padded)


def deal(chunks: Chunks, world: int) -> Deal:
    """Deal chunks to ranks in turn: neighbours in length run side by side."""
    slots = -(-chunks.count // world)
    chunk = np.arange(slots * world)
    chunk[chunks.count :] = DUMMY
    rows_C = np.diff(chunks.bounds_C1)
    row_chunk_T = np.repeat(np.arange(chunks.count), rows_C)
    within_T = np.arange(len(row_chunk_T)) - chunks.bounds_C1[row_chunk_T]
    padded_rows_C = np.zeros(slots * world, dtype=np.int64)
    padded_rows_C[: chunks.count] = rows_C
    rows_SW = padded_rows_C.reshape(slots, world)
    before_C = (np.cumsum(rows_SW, axis=0) - rows_SW).reshape(-1)
    rows_per_rank = int(rows_SW.sum(axis=0).max())
    gather_T = (row_chunk_T % world) * rows_per_rank + before_C[row_chunk_T] + within_T
    return Deal(chunk.reshape(slots, world).T, rows_per_rank, gather_T)


def _cut(lengths: Ints, budget: int) -> Ints:
    """Bounds of greedy chunks over descending lengths."""
    bounds = [0]
    while bounds[-1] < len(lengths):
        start = bounds[-1]
        bounds.append(min(len(lengths), start + max(1, budget // int(lengths[start]))))
    return np.array(bounds, dtype=np.int64)


def _rounded(fewest: int) -> int:
    power = min(_MOST, max(_FEWEST, 1 << (fewest.bit_length() - 1)))
    return -(-fewest // power) * power


def _smallest_budget(lengths: Ints, largest: int, count: int) -> int:
    """The smallest token budget that needs no more than `count` chunks: it makes them even."""
    low, high = 1, max(1, largest)
    while low < high:
        middle = (low + high) // 2
        if len(_cut(lengths, middle)) - 1 <= count:
            high = middle
        else:
            low = middle + 1
    return low
