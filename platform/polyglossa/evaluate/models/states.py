"""Raw states of rendered texts, each embedded once per model: what every task and every width of a run reads.

N = texts asked for, D = width of the model.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from polyglossa.records import text_id
from polyglossa.vectors import VectorStore

Floats = npt.NDArray[np.float32]
Embed = Callable[[list[str]], Floats]

_STORED_TEXTS = 8192
"""Texts that are embedded between two additions to the store: what a killed worker embeds again."""


class StateTable:
    """A table from rendered text to raw state; texts that it lacks are embedded on demand and kept."""

    def __init__(
        self, embed: Embed, texts: Sequence[str] = (), state_ND: Floats | None = None, most_bytes: int | None = None
    ) -> None:
        """Start with the states that are known.

        Args:
            embed: gives raw states.
            texts: rendered texts whose states are known.
            state_ND: their states.
            most_bytes: of texts and states that are kept from one call to the next; beyond it all are let go, for an
                `embed` that has them again for little. None keeps all.
        """
        self._embed = embed
        self._most_bytes = most_bytes
        self._rows = {text: row for row, text in enumerate(texts)}
        self._blocks: list[Floats] = [] if state_ND is None else [state_ND]

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Return the raw states [N, D] of rendered texts, in their order."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if missing:
            start = len(self._rows)
            self._blocks.append(self._embed(missing))
            self._rows |= {text: start + row for row, text in enumerate(missing)}
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks)]
        if not self._blocks:
            return self._embed([])
        state_ND = self._blocks[0][[self._rows[text] for text in texts]]
        if missing and self._most_bytes is not None and self.held_bytes > self._most_bytes:
            self._rows, self._blocks = {}, []
        return state_ND

    @property
    def held_bytes(self) -> int:
        """Bytes of the texts and states that are kept, about."""
        return sum(map(len, self._rows)) + sum(block.nbytes for block in self._blocks)


class CountedEmbed:
    """Embeds, and counts the texts that had to be."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self.texts = 0

    def __call__(self, texts: list[str]) -> Floats:
        """Return raw states [N, D]."""
        self.texts += len(texts)
        return self._embed(texts)


class StoredEmbed:
    """Looks texts up in the vector store first, and adds what it had to embed."""

    def __init__(self, embed: Embed, store: VectorStore, confirm: Callable[[], None]) -> None:
        """Read and add to a store.

        Args:
            embed: gives raw states.
            store: holds them.
            confirm: raises where the model is no longer the one that the store is of; called before states are kept.
        """
        self._embed, self._store, self._confirm = embed, store, confirm

    def __call__(self, texts: list[str]) -> Floats:
        """Return raw states [N, D]; rows that the store refuses (not finite) are handed on as they are."""
        ids = [text_id(text) for text in texts]
        held_N = self._store.holds(ids)
        missing = np.flatnonzero(~held_N)
        if not len(missing):
            return self._store.read(ids, normalise=False)
        fresh = np.concatenate([self._add(texts, ids, rows) for rows in _slabs(missing)])
        state_ND = np.empty((len(texts), fresh.shape[1]), np.float32)
        state_ND[missing] = fresh
        if held_N.any():
            held = np.flatnonzero(held_N)
            state_ND[held] = self._store.read([ids[row] for row in held], normalise=False)
        return state_ND

    def _add(self, texts: list[str], ids: Sequence[bytes], rows: npt.NDArray[np.int64]) -> Floats:
        """Embed some of the texts and store their states."""
        state_ND = self._embed([texts[row] for row in rows])
        self._confirm()
        self._store.append([ids[row] for row in rows], state_ND)
        return state_ND


def _slabs(rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return [rows[start : start + _STORED_TEXTS] for start in range(0, len(rows), _STORED_TEXTS)]
