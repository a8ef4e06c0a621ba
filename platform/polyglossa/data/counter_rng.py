"""Counter-based random numbers: functions of their purpose, the same on any machine and numpy version.

The bits are Philox's raw output under a hashed key; `Generator.permutation` may change between versions.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def hash63(*parts: Any) -> int:
    """Hash plain values to 63 bits, the same on any machine."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def permutation(size: int, *key: Any) -> NDArray[np.int64]:
    """Return the permutation of range(size) that belongs to a key."""
    bits = np.random.Philox(key=hash63(*key)).random_raw(size)
    return np.argsort(bits, kind="stable")
