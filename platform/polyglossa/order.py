"""The order in which a stage reads a source's rows: by a salted hash, so that the first ones are a fair sample.

Mining a part of a source takes its rows in this order, too: what a stage reads of it has been mined.
"""

import numpy as np
import xxhash
from numpy.typing import NDArray


def reading_order(pair_ids: NDArray[np.bytes_], turn: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return the keys by which examples are sorted: ids, hashes already, salted and mixed (splitmix64's finaliser).

    Args:
        pair_ids: S16 [N], the pair of each example.
        turn: [N], which of the pair's positives the example has.
        seed: salt of the order.
    """
    salt = np.uint64(xxhash.xxh3_64_intdigest(f"pack\x1f{seed}".encode()))
    value = np.frombuffer(pair_ids.tobytes(), dtype=np.uint64)[::2] ^ salt
    value = value + turn.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
