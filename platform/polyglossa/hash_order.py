"""Order by hash: in which order a stage reads a source's rows, so that the first ones are a fair sample.

Mining a part of a source takes its rows in this order, too: what a stage reads of it has been mined.
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

ODD = np.uint64(0x9E3779B97F4A7C15)
"""SplitMix64's step: 2⁶⁴ over the golden ratio, odd."""


def reading_order(pair_ids: NDArray[np.bytes_], turn: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return the keys by which examples are sorted: ids, hashes already, salted and mixed.

    Args:
        pair_ids: S16 [N], the pair of each example.
        turn: [N], which of the pair's positives the example has.
        seed: salt of the order.
    """
    salt = np.uint64(xxhash.xxh3_64_intdigest(f"pack\x1f{seed}".encode()))
    value = np.frombuffer(pair_ids.tobytes(), dtype=np.uint64)[::2] ^ salt
    return scatter(value + turn.astype(np.uint64) * ODD)


def scatter(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter 64-bit values: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
