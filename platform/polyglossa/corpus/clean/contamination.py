"""Keeping evaluation texts out of training: what an evaluation set looks like to compare with, and who matches it.

Texts are folded (case, white space, compatibility forms). A training text matches a set when the whole text is one of
the set's, or when it shares a block: `block_characters` in a row, fewer where most of the block is in a script written
without spaces. Every block of the evaluation texts is indexed by a rolling hash: 8 bytes per character of evaluation
text, behind a bit table that turns most look-ups away. Pure; the arrays are built once and read by every worker.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from fontTools.unicodedata import Scripts  # type: ignore[import-untyped]  # ships no types

from polyglossa.corpus.clean.language import SPACELESS_SCRIPTS
from polyglossa.corpus.clean.text import fold

Hashes = np.ndarray
"""Sorted distinct 64-bit hashes."""
_BASE = 0x9E3779B97F4A7C15
_BASE_INVERSE = pow(_BASE, -1, 2**64)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_BATCH_CHARACTERS = 2**21
_SEPARATOR = "\x1e"


@dataclass(frozen=True)
class EvaluationIndex:
    """What one evaluation set looks like: hashes of whole texts and of blocks."""

    name: str
    texts: Hashes
    blocks: Hashes
    spaceless_blocks: Hashes


def text_hashes(texts: Iterable[str | None]) -> np.ndarray:
    """Hash folded texts, one by one; empty ones are left out."""
    folded = (fold(text) for text in texts if text)
    return np.array([xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) for text in folded], np.uint64)


def build_index(name: str, texts: Iterable[str], block: int, spaceless_block: int) -> EvaluationIndex:
    """Index the texts of an evaluation set."""
    folded = sorted({fold(text) for text in texts if text} - {""})
    whole = np.array([xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) for text in folded], np.uint64)
    blocks = [hashes for hashes, _ in _windows(folded, block, spaceless=False)]
    spaceless = [hashes for hashes, _ in _windows(folded, spaceless_block, spaceless=True)]
    return EvaluationIndex(name, np.unique(whole), _distinct(blocks), _distinct(spaceless))


def _distinct(parts: Sequence[np.ndarray]) -> Hashes:
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *parts]))


def _windows(folded: Sequence[str], length: int, *, spaceless: bool) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Yield hashes of all windows of `length` characters, and the place of the text that each lies in.

    With `spaceless` only windows at least half of whose characters are in a script written without spaces.
    """
    start = 0
    while start < len(folded):
        end, size = start, 0
        while end < len(folded) and (size == 0 or size + len(folded[end]) < _BATCH_CHARACTERS):
            size += len(folded[end]) + 1
            end += 1
        yield _windows_of_batch(folded[start:end], start, length, spaceless)
        start = end


def _windows_of_batch(folded: Sequence[str], first: int, length: int, spaceless: bool) -> tuple[np.ndarray, np.ndarray]:
    joined = (_SEPARATOR.join(folded) + _SEPARATOR).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(joined, np.uint32).astype(np.uint64)
    text = np.repeat(np.arange(first, first + len(folded)), [len(item) + 1 for item in folded])
    places = np.flatnonzero(text[length:] == text[:-length]) if len(codes) > length else np.zeros(0, np.int64)
    if spaceless:
        counts = np.concatenate([[0], np.cumsum(_is_spaceless(codes))])
        places = places[2 * (counts[places + length] - counts[places]) >= length]
    if not len(places):
        return np.zeros(0, np.uint64), places
    with np.errstate(over="ignore"):
        powers = np.multiply.accumulate(np.concatenate([[np.uint64(1)], np.full(len(codes), _BASE, np.uint64)]))
        inverse = np.multiply.accumulate(
            np.concatenate([[np.uint64(1)], np.full(len(codes), _BASE_INVERSE, np.uint64)])
        )
        sums = np.concatenate([[np.uint64(0)], np.cumsum((codes + np.uint64(1)) * powers[1:], dtype=np.uint64)])
        hashes = (sums[places + length] - sums[places]) * inverse[places]
        hashes = (hashes ^ (hashes >> np.uint64(32))) * _MIX
        return hashes ^ (hashes >> np.uint64(32)), text[places]


def _is_spaceless(codes: np.ndarray) -> np.ndarray:
    spaceless = np.array([value in SPACELESS_SCRIPTS for value in Scripts.VALUES])
    return spaceless[np.searchsorted(np.array(Scripts.RANGES), codes, side="right") - 1]


@dataclass
class _Lookup:
    """Membership in a large set of hashes: a bit table turns most away, a sorted array decides."""

    hashes: Hashes
    bits: np.ndarray = field(init=False)
    shift: np.uint64 = field(init=False)

    def __post_init__(self) -> None:
        size = max(16, int(len(self.hashes) * 16).bit_length())
        self.shift = np.uint64(64 - size)
        self.bits = np.zeros(2**size // 8, np.uint8)
        place = self.hashes >> self.shift
        np.bitwise_or.at(self.bits, place >> np.uint64(3), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8))

    def holds(self, hashes: np.ndarray) -> np.ndarray:
        """Which of the hashes are in the set."""
        place = hashes >> self.shift
        found = (self.bits[place >> np.uint64(3)] >> (place & np.uint64(7)).astype(np.uint8)) & 1 == 1
        if len(self.hashes) == 0:
            return np.zeros(len(hashes), bool)
        maybe = hashes[found]
        nearest = np.minimum(np.searchsorted(self.hashes, maybe), len(self.hashes) - 1)
        found[found] = self.hashes[nearest] == maybe
        return found


class Contamination:
    """All that must not be trained on: texts that the corpus itself holds out, and evaluation sets."""

    def __init__(self, secret: Hashes, indexes: Sequence[EvaluationIndex], block: int, spaceless_block: int) -> None:
        self._secret = _Lookup(secret)
        self._lengths = (block, spaceless_block)
        self._sets = {
            index.name: (_Lookup(index.texts), _Lookup(index.blocks), _Lookup(index.spaceless_blocks))
            for index in indexes
        }

    def mark(self, rows: pa.Table, reasons: np.ndarray) -> dict[str, dict[str, int]]:
        """Give contaminated rows a reason, in place, where they have none yet.

        Returns:
            Evaluation set → reason → rows, the first set that matches counting.
        """
        if not self._sets and not len(self._secret.hashes):
            return {}
        trained = pc.fill_null(pc.not_equal(rows["split"], "heldout"), True).to_numpy(zero_copy_only=False)
        free = np.array([reason is None for reason in reasons], bool) & trained
        texts, row, is_query = _texts_of(rows, free)
        distinct = pa.array(texts, pa.string()).dictionary_encode()
        folded = [fold(text) for text in distinct.dictionary.to_pylist()]
        place = distinct.indices.to_numpy()
        whole = np.array(
            [xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) for text in folded], np.uint64
        )
        _give(reasons, row[self._secret.holds(whole)[place]], "heldout_leak")
        found: dict[str, dict[str, int]] = {}
        blocks = self._blocks(folded) if self._sets else {}
        for name, (known, _, _) in self._sets.items():
            exact = known.holds(whole)[place]
            found[name] = {
                "contaminated_query": _give(reasons, row[exact & is_query], "contaminated_query"),
                "contaminated_document": _give(reasons, row[exact & ~is_query], "contaminated_document"),
                "contaminated_block": _give(reasons, row[blocks[name][place]], "contaminated_block"),
            }
        return found

    def _blocks(self, folded: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Which texts share a block with each set."""
        matched = {name: np.zeros(len(folded), bool) for name in self._sets}
        for spaceless, length in enumerate(self._lengths):
            for hashes, text in _windows(folded, length, spaceless=bool(spaceless)):
                for name, lookups in self._sets.items():
                    matched[name][text[lookups[1 + spaceless].holds(hashes)]] = True
        return matched


def _texts_of(rows: pa.Table, free: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts of the free rows, the row of each, and whether it is a query. Labels are no texts."""
    texts: list[str] = []
    row: list[int] = []
    is_query: list[bool] = []
    columns = (rows[name].to_pylist() for name in ("query", "positives", "negatives", "task"))
    for place, (query, positives, negatives, task) in enumerate(zip(*columns, strict=True)):
        if free[place]:
            others = [] if task == "classification" else [*positives, *(negatives or ())]
            texts += [query, *others]
            row += [place] * (1 + len(others))
            is_query += [True] + [False] * len(others)
    return texts, np.array(row, np.int64), np.array(is_query, bool)


def _give(reasons: np.ndarray, rows: np.ndarray, reason: str) -> int:
    """Give rows without a reason this one; return how many."""
    free = [row for row in np.unique(rows) if reasons[row] is None]
    reasons[free] = reason
    return len(free)
