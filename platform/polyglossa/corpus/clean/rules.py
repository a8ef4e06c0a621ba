"""Filters of candidates: named rules, each a pure function that finds the rows which may not go on.

To add one: write a function of `Candidates` and name it in `RULES`. Rejects are kept under that name; a row that breaks
several rules is counted for the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from polyglossa.corpus.hashing import as_one_array, mix, text_hashes
from polyglossa.recipe.sections.corpus import CorpusConfig

Rows = NDArray[np.int64]
"""Numbers of rows; one may stand there twice."""


@dataclass(frozen=True)
class Texts:
    """The texts of one role, and the row that each is of."""

    values: pa.Array
    row: Rows

    @cached_property
    def length(self) -> Rows:
        """Characters of each text; 0 of one that is missing."""
        return np.asarray(pc.fill_null(pc.utf8_length(self.values), 0).to_numpy(zero_copy_only=False), np.int64)


class Candidates:
    """Normalised candidates, as rules read them."""

    def __init__(self, table: pa.Table, config: CorpusConfig) -> None:
        self.table, self.config = table, config
        self.queries = Texts(table["query"].combine_chunks(), np.arange(table.num_rows))
        self.positives, self.negatives = _texts_of(table["positives"]), _texts_of(table["negatives"])

    @property
    def roles(self) -> tuple[Texts, Texts, Texts]:
        """Queries, positives and negatives."""
        return self.queries, self.positives, self.negatives


def empty(candidates: Candidates) -> Rows:
    """Find rows without a positive, or with a text that holds nothing."""
    _, offsets, missing = flat_lists(candidates.table["positives"])
    bare = np.flatnonzero(missing | (np.diff(offsets) == 0))
    return np.concatenate([bare, *(texts.row[texts.length == 0] for texts in candidates.roles)])


def too_short(candidates: Candidates) -> Rows:
    """Find rows with a text below `min_characters`."""
    least = candidates.config.min_characters
    return np.concatenate([texts.row[texts.length < least] for texts in candidates.roles])


def too_long(candidates: Candidates) -> Rows:
    """Find rows with a text above `max_characters`."""
    most = candidates.config.max_characters
    return np.concatenate([texts.row[texts.length > most] for texts in candidates.roles])


def too_many_tokens(candidates: Candidates) -> Rows:
    """Find rows with a text above `max_tokens`, where the recipe counts tokens."""
    most, tokenizer = candidates.config.max_tokens, str(candidates.config.tokenizer)
    if most is None:
        return np.zeros(0, np.int64)
    return np.concatenate(
        [texts.row[count_tokens(texts.values.to_pylist(), tokenizer) > most] for texts in candidates.roles]
    )


def equal_query_and_positive(candidates: Candidates) -> Rows:
    """Find rows that ask for their own text."""
    positives = candidates.positives
    same = pc.equal(positives.values, candidates.queries.values.take(positives.row))
    return positives.row[pc.fill_null(same, False).to_numpy(zero_copy_only=False)]


def negative_is_positive(candidates: Candidates) -> Rows:
    """Find rows one of whose negatives is among their positives: by hash first, then by text."""
    positive, negative = (
        text_hashes(texts.values) ^ mix(texts.row.astype(np.uint64))
        for texts in (candidates.positives, candidates.negatives)
    )
    maybe = np.unique(candidates.negatives.row[np.isin(negative, positive)])
    found = candidates.table.select(["positives", "negatives"]).take(pa.array(maybe, pa.int64())).to_pylist()
    pairs = zip(maybe, found, strict=True)
    return np.array([row for row, one in pairs if set(one["negatives"]) & set(one["positives"])], np.int64)


RULES: tuple[tuple[str, Callable[[Candidates], Rows]], ...] = (
    ("empty", empty),
    ("too_short", too_short),
    ("too_long", too_long),
    ("too_many_tokens", too_many_tokens),
    ("equal_query_and_positive", equal_query_and_positive),
    ("negative_is_positive", negative_is_positive),
)
"""In order."""


def _texts_of(lists: pa.ChunkedArray) -> Texts:
    values, offsets, _ = flat_lists(lists)
    return Texts(values, np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))


def flat_lists(lists: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Texts of all lists, where each list starts (one more than lists), and which lists are null."""
    array = as_one_array(lists)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pc.list_flatten(array), offsets, array.is_null().to_numpy(zero_copy_only=False)


def count_tokens(texts: Sequence[str | None], tokenizer: str) -> np.ndarray:
    """Count tokens with a tokenizer by directory or hub name."""
    import tokenizers

    path = Path(tokenizer) / "tokenizer.json"
    loaded = (
        tokenizers.Tokenizer.from_file(str(path)) if path.exists() else tokenizers.Tokenizer.from_pretrained(tokenizer)
    )
    loaded.no_truncation()
    return np.array([len(encoding.ids) for encoding in loaded.encode_batch_fast([text or "" for text in texts])])
