"""Schedule the texts that wait for a member. No clock, no network: a plain data structure.

Half of every batch goes to the oldest requests and half goes round the requests in turn, one text each. So a request of
2,048 texts does not stand before a request of one, and a stream of single texts does not starve the large request. A
text above the whole budget travels alone once its request is the oldest.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from polyglossa.serving.errors import ApiError


@dataclass(eq=False, slots=True)
class Item:
    """One distinct text on its way to its state."""

    key: bytes
    """What makes two texts the same: the member's tokens are equal where keys are."""
    state: asyncio.Future[np.ndarray]
    """The raw state [D], or the problem of this text."""
    tokens: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    size: int = 0
    """Tokens of the text, once they are known."""
    wanted: int = 0
    """Requests that still wait for it; at 0 it is not computed."""
    since: float = 0.0
    """When it was queued (monotonic seconds)."""
    problem: ApiError | None = None
    """Why it cannot be embedded."""


class Scheduler:
    """The queue of one member: requests in order of arrival, each with its texts."""

    def __init__(self) -> None:
        self._requests: OrderedDict[int, deque[Item]] = OrderedDict()
        self._numbers = iter(range(1 << 62))
        self._turn = -1

    def __bool__(self) -> bool:
        return any(self._drop_unwanted(number) for number in list(self._requests))

    def add(self, items: Iterable[Item]) -> None:
        """Append the texts of one request."""
        queue = deque(items)
        if queue:
            self._requests[next(self._numbers)] = queue

    def take(self, budget: int) -> list[Item]:
        """Take the next batch.

        Args:
            budget: tokens of a batch; only a single text may exceed it.

        Returns:
            Between one text and a full batch; nothing where nothing waits.
        """
        batch: list[Item] = []
        left = self._take_oldest(batch, budget // 2, budget)
        left = self._take_in_turn(batch, left)
        self._take_oldest(batch, left, left)
        return batch

    def _take_oldest(self, batch: list[Item], share: int, room: int) -> int:
        for number in list(self._requests):
            while queue := self._drop_unwanted(number):
                size = queue[0].size
                if batch and size > share:
                    return room
                batch.append(queue.popleft())
                share -= size
                room -= size
                if share <= 0:
                    return room
        return room

    def _take_in_turn(self, batch: list[Item], room: int) -> int:
        if room <= 0:
            return room
        numbers = list(self._requests)
        following = [number for number in numbers if number > self._turn]
        for number in [*following, *numbers[: len(numbers) - len(following)]]:
            queue = self._drop_unwanted(number)
            if queue and queue[0].size <= room:
                room -= queue[0].size
                batch.append(queue.popleft())
                self._turn = number
        return room

    def _drop_unwanted(self, number: int) -> deque[Item] | None:
        """Return a request's texts that somebody still wants; forget the request where there are none."""
        queue = self._requests[number]
        while queue and not queue[0].wanted:
            queue.popleft()
        if not queue:
            del self._requests[number]
            return None
        return queue
