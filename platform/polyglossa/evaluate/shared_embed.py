"""Embedding calls whose parts other workers may take. The parts do not depend on who is there, nor do the states.

N = texts, D = width of the model.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from polyglossa.evaluate.exchange import Offer
from polyglossa.evaluate.models.states import Embed, Floats

_MOST_TEXTS = 512
_MOST_CHARACTERS = 100_000
_LEAST_CHARACTERS = 10_000
"""Of the last parts: what two workers embed of one at the same time is no more than this."""
_SHARE = 16


class Exchanged(Protocol):
    """An `Exchange`, wherever it is; one that is lost answers as if nobody were there."""

    def post(self, call: str, owner: str, parts: Sequence[list[str]]) -> tuple[int | None, Mapping[int, Any]]:
        """See `Exchange`."""

    def next(self, call: str, owner: str, part: int, states: Any) -> tuple[int | None, Mapping[int, Any]]:
        """See `Exchange`."""

    def take(self) -> Offer | None:
        """See `Exchange`."""

    def give(self, call: str, part: int, states: Any) -> None:
        """See `Exchange`."""

    def close(self, call: str, owner: str) -> None:
        """See `Exchange`."""


def cut_parts(characters: Sequence[int]) -> list[list[int]]:
    """Cut texts into parts of like length, the longest texts first, and the last parts the smallest.

    Args:
        characters: length of each text.

    Returns:
        Parts of indices into `characters`; each holds every text once.
    """
    parts: list[list[int]] = []
    room, left = 0, sum(characters)
    for index in sorted(range(len(characters)), key=lambda index: -characters[index]):
        if characters[index] > room or not parts or len(parts[-1]) == _MOST_TEXTS:
            parts.append([])
            room = min(_MOST_CHARACTERS, max(_LEAST_CHARACTERS, left // _SHARE))
        parts[-1].append(index)
        room -= characters[index]
        left -= characters[index]
    return parts


class SharedEmbed:
    """Embeds in parts, and puts them where workers with nothing else to do take some."""

    def __init__(self, embed: Embed, exchange: Exchanged | None) -> None:
        """Wrap a model.

        Args:
            embed: the model.
            exchange: where parts are offered; None embeds all of them here.
        """
        self._embed, self._exchange = embed, exchange

    def __call__(self, texts: list[str]) -> Floats:
        """Return raw states [N, D]."""
        rows = cut_parts([len(text) for text in texts])
        if len(rows) < 2:
            return self._embed(texts)
        parts = [[texts[row] for row in part] for part in rows]
        if self._exchange is None:
            states = {number: self._embed(part) for number, part in enumerate(parts)}
        else:
            states = _exchanged(parts, self._embed, self._exchange)
        state_ND = np.empty((len(texts), states[0].shape[1]), np.float32)
        for number, part in enumerate(rows):
            state_ND[part] = states[number]
        return state_ND

    def help(self) -> bool:
        """Embed parts of others' calls until none is left; whether there were any."""
        helped = False
        while self._exchange is not None and (offer := self._exchange.take()) is not None:
            call, part, texts = offer
            self._exchange.give(call, part, self._embed(texts))
            helped = True
        return helped


def _exchanged(parts: Sequence[list[str]], embed: Embed, exchange: Exchanged) -> dict[int, Floats]:
    """Embed parts beside whoever helps; what was taken and has not come back when nothing is left is embedded here."""
    call, owner = _name(parts), uuid.uuid4().hex
    offered, found = exchange.post(call, owner, parts)
    states: dict[int, Floats] = dict(found)
    try:
        while missing := [number for number in range(len(parts)) if number not in states]:
            part = offered if offered in missing else missing[-1]
            states[part] = embed(parts[part])
            offered, found = exchange.next(call, owner, part, states[part])
            states |= found
    finally:
        exchange.close(call, owner)
    return states


def _name(parts: Sequence[list[str]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for text in part:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
