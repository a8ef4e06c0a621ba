"""A bounded store of states by text, least recently used first out."""

from collections import OrderedDict

import numpy as np

_OVERHEAD_BYTES = 400  # key, counts and Python objects of an entry


class StateCache:
    """States [D] and token counts by key.

    Args:
        mib: memory it may hold; 0 keeps nothing.
    """

    def __init__(self, mib: int) -> None:
        self._limit = mib * 1024 * 1024
        self._bytes = 0
        self._entries: OrderedDict[bytes, tuple[np.ndarray, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> tuple[np.ndarray, int] | None:
        """Return a text's state and token count, or None."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, state_D: np.ndarray, tokens: int) -> None:
        """Keep a state; older ones go where it needs room."""
        size = state_D.nbytes + _OVERHEAD_BYTES
        if size > self._limit or key in self._entries:
            return
        self._entries[key] = (state_D.copy(), tokens)  # a view would keep its whole batch alive
        self._bytes += size
        while self._bytes > self._limit:
            _, (old, _) = self._entries.popitem(last=False)
            self._bytes -= old.nbytes + _OVERHEAD_BYTES
