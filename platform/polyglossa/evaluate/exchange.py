"""Where workers put parts of large embedding calls for each other. No torch here: it is an actor of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

Offer = tuple[str, int, list[str]]
"""Call, number of the part, its texts."""


class Exchange:
    """Calls by what they embed: owners of the same texts share one, and so does an owner that was started again.

    Every part is handed out once. Who took one may be lost: an owner that finds nothing left to take embeds again what
    has not come back, so nobody ever waits for another.
    """

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}

    def post(self, call: str, owner: str, parts: Sequence[list[str]]) -> tuple[int | None, Mapping[int, Any]]:
        """Offer a call's parts; a part to begin with, and what others have embedded of it already."""
        return self._calls.setdefault(call, _Call(parts)).next(owner)

    def next(self, call: str, owner: str, part: int, states: Any) -> tuple[int | None, Mapping[int, Any]]:
        """Hand in a part; the next one that nobody has taken, and what others have handed in since."""
        if call not in self._calls:
            return None, {}
        self._calls[call].give(part, states, owner)
        return self._calls[call].next(owner)

    def take(self) -> Offer | None:
        """Take a part of any call, the oldest first."""
        for call, one in self._calls.items():
            part = one.take()
            if part is not None:
                return call, part, one.parts[part]
        return None

    def give(self, call: str, part: int, states: Any) -> None:
        """Hand in a part that was taken; too late is no harm."""
        if call in self._calls:
            self._calls[call].give(part, states)

    def close(self, call: str, owner: str) -> None:
        """Leave a call; the last owner's leaving ends it."""
        if call in self._calls and self._calls[call].leave(owner):
            del self._calls[call]


class _Call:
    def __init__(self, parts: Sequence[list[str]]) -> None:
        self.parts = parts
        self._next = 0
        self._given: dict[int, Any] = {}
        self._seen: dict[str, set[int]] = {}

    def take(self) -> int | None:
        if self._next == len(self.parts):
            return None
        self._next += 1
        return self._next - 1

    def give(self, part: int, states: Any, owner: str | None = None) -> None:
        self._given.setdefault(part, states)
        if owner is not None:
            self._seen.setdefault(owner, set()).add(part)

    def next(self, owner: str) -> tuple[int | None, Mapping[int, Any]]:
        seen = self._seen.setdefault(owner, set())
        fresh = {part: states for part, states in self._given.items() if part not in seen}
        seen.update(fresh)
        return self.take(), fresh

    def leave(self, owner: str) -> bool:
        self._seen.pop(owner, None)
        return not self._seen
