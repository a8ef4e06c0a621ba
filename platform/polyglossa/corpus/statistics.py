"""Count rows, characters and tokens of kept rows by source, task and language; bin lengths; draw samples.

Counts are kept per bucket and added up, so they need no second pass over the corpus. Lengths lie in bins of 1/16 of a
doubling: a median read from them is within 2.2 %. Tokens are counted on a sample of each bucket's rows, by hash.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.language import UNDETERMINED
from polyglossa.corpus.clean.rules import count_tokens
from polyglossa.corpus.hashing import as_one_array, shares
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.scratch.task_store import sort_by_id
from polyglossa.whitespace import WHITESPACE

GROUP = ("source", "task", "language", "script")
LENGTHS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in (*GROUP, "side")),  # side: query or positive
        pa.field("bin", pa.int64()),
        pa.field("texts", pa.int64()),
        pa.field("characters", pa.int64()),
    ]
)
TOKENS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in GROUP),
        pa.field("characters", pa.int64()),
        pa.field("tokens", pa.int64()),
    ]
)
SAMPLE_ROWS = 10
_BINS_PER_DOUBLING = 16
_SAMPLED = 1024
"""Rows of a bucket whose tokens are counted, about."""
_SPACELESS = ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"]
_WORD = "|".join([*(rf"\p{{{name}}}" for name in _SPACELESS), r"[\pL\pM\pN]+", rf"[^{WHITESPACE}\pL\pM\pN]"])
"""A word or a sign; in scripts without spaces every letter is one."""


def lengths(rows: pa.Table) -> pa.Table:
    """Count queries and positives by group, side and length (`LENGTHS`)."""
    parts = []
    for side, texts, row in _texts(rows):
        characters = pc.utf8_length(texts).cast(pa.int64())
        columns = [*(column.take(row) for column in _groups(rows, side)), pa.repeat(side, len(texts))]
        parts.append(pa.table([*columns, bin_of(characters), characters], names=[*GROUP, "side", "bin", "characters"]))
    keys = [*GROUP, "side", "bin"]
    counted = pa.concat_tables(parts).group_by(keys).aggregate([("characters", "count"), ("characters", "sum")])
    return _sort(counted.rename_columns([*keys, "texts", "characters"]).cast(LENGTHS), keys)


def tokens(rows: pa.Table, config: CorpusConfig) -> pa.Table:
    """Count characters and tokens of a sample of the rows by group (`TOKENS`)."""
    drawn = shares(as_one_array(rows["key"]), config.seed, "count tokens") if rows.num_rows else np.zeros(0)
    sample = rows.filter(pa.array(drawn * rows.num_rows < _SAMPLED, pa.bool_()))
    count = _counter(config.tokenizer)
    parts = []
    for side, texts, row in _texts(sample):
        columns = [*(column.take(row) for column in _groups(sample, side)), pc.utf8_length(texts), count(texts)]
        parts.append(pa.table(columns, names=[*GROUP, "characters", "tokens"]))
    counted = pa.concat_tables(parts).group_by(list(GROUP)).aggregate([("characters", "sum"), ("tokens", "sum")])
    return _sort(counted.rename_columns([*GROUP, "characters", "tokens"]).cast(TOKENS), list(GROUP))


def add_tables(tables: list[pa.Table]) -> pa.Table:
    """Add up counts of several buckets."""
    table = pa.concat_tables(tables)
    counts = [name for name in table.column_names if name in ("texts", "characters", "tokens")]
    keys = [name for name in table.column_names if name not in counts]
    total = table.group_by(keys).aggregate([(name, "sum") for name in counts])
    return _sort(total.rename_columns([*keys, *counts]).select(table.column_names), keys)


def samples(rows: pa.Table, source: str) -> pa.Table:
    """The rows of a source with the smallest keys: keys are hashes, so the choice is as good as drawn."""
    return rows.filter(pc.equal(rows["source"], source)).slice(0, SAMPLE_ROWS)


def first_rows(tables: list[pa.Table]) -> pa.Table:
    """The sample of all buckets, from the samples of each."""
    return sort_by_id(pa.concat_tables(tables), "key").slice(0, SAMPLE_ROWS)


def bin_of(characters: pa.Array) -> pa.Array:
    """Bin of each length."""
    return pa.array(np.rint(_BINS_PER_DOUBLING * np.log2(characters.to_numpy())).astype(np.int64))


def median(bins: np.ndarray, texts: np.ndarray) -> int:
    """Length in characters below which half of the texts are, from counts by bin (any order)."""
    order = np.argsort(bins)
    middle = np.searchsorted(np.cumsum(texts[order]), texts.sum() / 2)
    return round(2 ** (bins[order][middle] / _BINS_PER_DOUBLING))


def _texts(rows: pa.Table) -> list[tuple[str, pa.Array, pa.Array]]:
    """Side, texts, and the row of each."""
    positives = as_one_array(rows["positives"])
    return [
        ("query", as_one_array(rows["query"]), pa.array(np.arange(rows.num_rows))),
        ("positive", pc.list_flatten(positives), pc.list_parent_indices(positives)),
    ]


def _groups(rows: pa.Table, side: str) -> list[pa.ChunkedArray]:
    language = pc.fill_null(rows[f"{side}_language"], UNDETERMINED)
    return [rows["source"], rows["task"], language, pc.fill_null(rows[f"{side}_script"], "")]


def _counter(tokenizer: str | None) -> Callable[[pa.Array], pa.Array]:
    if tokenizer is None:
        return lambda texts: pc.count_substring_regex(texts, _WORD)
    return lambda texts: pa.array(count_tokens(texts.to_pylist(), tokenizer), pa.int64())


def _sort(table: pa.Table, keys: list[str]) -> pa.Table:
    return table.sort_by([(key, "ascending") for key in keys])
