"""Compute each text once for all requests that wait for it, and remember its state for a while."""

import asyncio
from collections.abc import Sequence
from functools import partial

import numpy as np

from polyglossa.serving.batching.scheduler import Item
from polyglossa.serving.batching.state_cache import StateCache


class SingleFlight:
    """Items under way by key, and the states of those that have arrived lately.

    Args:
        cache_mib: memory for arrived states; 0 forgets them at once.
    """

    def __init__(self, cache_mib: int) -> None:
        self._under_way: dict[bytes, Item] = {}
        self._cache = StateCache(cache_mib)

    def __len__(self) -> int:
        return len(self._under_way)

    def join(self, keys: Sequence[bytes]) -> tuple[list[Item], list[int]]:
        """Return an item for each key, each wanted once more, and the rows whose item is new."""
        items, fresh = [], []
        for row, key in enumerate(keys):
            item = self._joined(key) or self._cached(key)
            if item is None:
                item = Item(key, asyncio.get_running_loop().create_future())
                self._under_way[key] = item
                item.state.add_done_callback(partial(self._end, item))
                fresh.append(row)
            item.wanted += 1
            items.append(item)
        return items, fresh

    def _joined(self, key: bytes) -> Item | None:
        """Find an item under way; one that another request has just brought down is none, though still listed."""
        item = self._under_way.get(key)
        if item is None or not item.state.done():
            return item
        return None if item.state.cancelled() or item.state.exception() is not None else item

    def _end(self, item: Item, _: object) -> None:
        """Take an item off the list, a turn of the loop after it has ended: another may have its key by now."""
        if self._under_way.get(item.key) is item:
            del self._under_way[item.key]

    def _cached(self, key: bytes) -> Item | None:
        found = self._cache.get(key)
        if found is None:
            return None
        item = Item(key, asyncio.get_running_loop().create_future(), size=found[1])
        item.state.set_result(found[0])
        return item

    def arrived(self, item: Item, state_D: np.ndarray) -> None:
        """Give an item its state."""
        item.state.set_result(state_D)
        self._cache.put(item.key, state_D, item.size)

    def leave(self, items: Sequence[Item]) -> None:
        """Want some items once less; one that nobody wants any more is cancelled."""
        for item in items:
            item.wanted -= 1
            if not item.wanted and not item.state.done():
                item.state.cancel()
