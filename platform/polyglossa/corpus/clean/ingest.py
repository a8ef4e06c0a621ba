"""First pass over candidates: normalise, judge lengths, describe what may go on (`describe`).

Pure: a `Reading` in, rows and rejects out. Rules apply in this order: `empty`, `too_short`, `too_long`,
`too_many_tokens`, `equal_query_and_positive`, `negative_is_positive`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.annotate import annotate
from polyglossa.corpus.clean.text import normalise_column
from polyglossa.corpus.clean.written_instructions import keep_template, lift_instructions
from polyglossa.corpus.hashing import as_one_array, mix, text_hashes
from polyglossa.corpus.rejects import Reasons, reject_rows, reject_table, unreadable
from polyglossa.corpus.sources.shards import Reading
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import PydocSource


@dataclass(frozen=True)
class Ingested:
    """What a reading became."""

    rows: pa.Table
    rejects: pa.Table
    checked: Counter[str]
    """Languages: given ones that were checked (`agree`, `disagree`), others that were `identified` (`doubtful`)."""
    written: Counter[str]
    """Instructions that the rows held already (`written_instructions`)."""


def ingest(reading: Reading, source_name: str, entry: Any, config: CorpusConfig) -> Ingested:
    """Take a reading through the first pass.

    Args:
        reading: candidates and rows that could not be read.
        source_name: source that unreadable rows are counted for.
        entry: the recipe's entry of the source.
        config: limits and languages.
    """
    lifted, written = lift_instructions(reading.candidates)
    table = normalise(lifted, keeps_code=isinstance(entry, PydocSource) or getattr(entry, "code", False))
    reasons = find_reject_reasons(table, config)
    kept = pa.array([reason is None for reason in reasons], pa.bool_())
    rows, checked = annotate(table.filter(kept), entry, config)
    rejects = [*(unreadable(source_name, *bad) for bad in reading.bad), *reject_rows(table, reasons)]
    return Ingested(rows, reject_table(rejects), checked, written)


def normalise(table: pa.Table, *, keeps_code: bool) -> pa.Table:
    """Normalise queries, positives and negatives; code keeps its characters."""
    table = _with(table, "query", normalise_column(table["query"]))
    for name in () if keeps_code else ("positives", "negatives"):
        if table[name].null_count < table.num_rows:
            table = _with(table, name, _map_texts(table[name]))
    return table


def _map_texts(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    flat, offsets, nulls = _flat(lists)
    texts = keep_template(flat, as_one_array(normalise_column(pa.chunked_array([flat]))))
    return pa.chunked_array([pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), texts, mask=pa.array(nulls))])


def _flat(lists: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Texts of all lists, where each list starts (one more than lists), and which lists are null."""
    array = as_one_array(lists)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pc.list_flatten(array), offsets, array.is_null().to_numpy(zero_copy_only=False)


def find_reject_reasons(table: pa.Table, config: CorpusConfig) -> Reasons:
    """Return why each row cannot go on, or None: the first rule that it breaks."""
    reasons: Reasons = np.full(table.num_rows, None, dtype=object)
    positives, positive_offsets, missing = _flat(table["positives"])
    negatives, negative_offsets, _ = _flat(table["negatives"])
    query = table["query"].combine_chunks()
    parts = [
        (query, np.arange(table.num_rows)),
        (positives, _row_of(positive_offsets)),
        (negatives, _row_of(negative_offsets)),
    ]
    none = missing | (np.diff(positive_offsets) == 0)
    _mark(reasons, np.flatnonzero(none), "empty")
    lengths = [pc.fill_null(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False) for texts, _ in parts]
    for (_, row), length in zip(parts, lengths, strict=True):
        _mark(reasons, row[length == 0], "empty")
    for (_, row), length in zip(parts, lengths, strict=True):
        _mark(reasons, row[length < config.min_characters], "too_short")
    for (_, row), length in zip(parts, lengths, strict=True):
        _mark(reasons, row[length > config.max_characters], "too_long")
    if config.max_tokens is not None:
        for texts, row in parts:
            sizes = count_tokens(texts.to_pylist(), str(config.tokenizer))
            _mark(reasons, row[sizes > config.max_tokens], "too_many_tokens")
    _mark(reasons, parts[1][1][_equals(positives, query.take(parts[1][1]))], "equal_query_and_positive")
    if len(negatives):
        _mark(reasons, _rows_that_share_texts(table, reasons), "negative_is_positive")
    return reasons


def _row_of(offsets: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _equals(one: pa.Array, other: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.equal(one, other), False).to_numpy(zero_copy_only=False)


def _mark(reasons: Reasons, rows: np.ndarray, reason: str) -> None:
    free = rows[[reasons[row] is None for row in rows]] if len(rows) else rows
    reasons[free] = reason


def _rows_that_share_texts(table: pa.Table, reasons: Reasons) -> np.ndarray:
    """Rows one of whose negatives is among their positives: texts of a row are compared by hash, hits by text."""
    hashes = []
    for name in ("positives", "negatives"):
        texts, offsets, _ = _flat(table[name])
        row = _row_of(offsets)
        hashes.append((text_hashes(texts) ^ mix(row.astype(np.uint64)), row))
    (positive, _), (negative, row) = hashes
    maybe = [place for place in np.unique(row[np.isin(negative, positive)]) if reasons[place] is None]
    found = table.select(["positives", "negatives"]).take(pa.array(maybe, pa.int64())).to_pylist()
    pairs = zip(maybe, found, strict=True)
    return np.array([place for place, one in pairs if not set(one["negatives"]).isdisjoint(one["positives"])], np.int64)


def count_tokens(texts: Sequence[str | None], tokenizer: str) -> np.ndarray:
    """Count tokens with a tokenizer by directory or hub name."""
    import tokenizers

    path = Path(tokenizer) / "tokenizer.json"
    loaded = (
        tokenizers.Tokenizer.from_file(str(path)) if path.exists() else tokenizers.Tokenizer.from_pretrained(tokenizer)
    )
    loaded.no_truncation()
    return np.array([len(encoding.ids) for encoding in loaded.encode_batch_fast([text or "" for text in texts])])


def _with(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
