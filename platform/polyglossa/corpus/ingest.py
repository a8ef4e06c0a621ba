"""First pass over candidates: normalise, judge lengths, name languages, give each row the key that duplicates share.

Pure: a `Reading` in, rows and rejects out. Rules apply in this order: `empty`, `too_short`, `too_long`,
`too_many_tokens`, `equal_query_and_positive`, `negative_is_positive`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from polyglossa.corpus.candidates import CANDIDATE
from polyglossa.corpus.instructions import draw_share
from polyglossa.corpus.language import canonical, identifier, is_known, same_language, scripts_of
from polyglossa.corpus.shards import Reading
from polyglossa.corpus.text import normalise_column
from polyglossa.recipe.corpus import CorpusConfig
from polyglossa.recipe.sources import PydocSource, ReadSource
from polyglossa.records import ID, REJECT

ROW = pa.schema([pa.field("key", ID, nullable=False), *CANDIDATE, pa.field("language_confidence", pa.float32())])
"""A candidate that passed, its key (hash of query and positives) first."""

_SHOWN = 400
"""Texts of rejected rows are cut here (characters)."""
_CONTEXT = 300
"""Characters of the positive that help to identify a query's language."""

Reasons = np.ndarray
"""One reason or None per row."""


@dataclass(frozen=True)
class Ingested:
    """What a reading became."""

    rows: pa.Table
    rejects: pa.Table
    checked: Counter[str]
    """Given languages that were checked: `agree`, `disagree`."""


def ingest(reading: Reading, source_name: str, entry: Any, config: CorpusConfig) -> Ingested:
    """Take a reading through the first pass.

    Args:
        reading: candidates and rows that could not be read.
        source_name: source that unreadable rows are counted for.
        entry: the recipe's entry of the source.
        config: limits and languages.
    """
    table = normalise(reading.candidates, keeps_code=isinstance(entry, PydocSource) or getattr(entry, "code", False))
    reasons = judge(table, config)
    kept = pa.array([reason is None for reason in reasons], pa.bool_())
    unreadable = [(source_name, "corpus", bad.reason, bad.row[:_SHOWN]) for bad in reading.bad]
    rows, checked = describe(table.filter(kept), entry, config)
    rejects = [*unreadable, *rejected(table, reasons)]
    return Ingested(rows, reject_table(rejects), checked)


def normalise(table: pa.Table, *, keeps_code: bool) -> pa.Table:
    """Normalise queries, positives and negatives; code keeps its characters."""
    table = _with(table, "query", normalise_column(table["query"]))
    for name in () if keeps_code else ("positives", "negatives"):
        if table[name].null_count < table.num_rows:
            table = _with(table, name, _map_texts(table[name]))
    return table


def _map_texts(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    flat, offsets, nulls = _flat(lists)
    texts = normalise_column(pa.chunked_array([flat])).combine_chunks()
    return pa.chunked_array([pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), texts, mask=pa.array(nulls))])


def _flat(lists: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Texts of all lists, where each list starts (one more than lists), and which lists are null."""
    joined = lists.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(joined), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pc.list_flatten(joined), offsets, joined.is_null().to_numpy(zero_copy_only=False)


def judge(table: pa.Table, config: CorpusConfig) -> Reasons:
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
        _mark(reasons, _shared_rows(table, reasons), "negative_is_positive")
    return reasons


def _row_of(offsets: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _equals(one: pa.Array, other: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.equal(one, other), False).to_numpy(zero_copy_only=False)


def _mark(reasons: Reasons, rows: np.ndarray, reason: str) -> None:
    free = rows[[reasons[row] is None for row in rows]] if len(rows) else rows
    reasons[free] = reason


def _shared_rows(table: pa.Table, reasons: Reasons) -> np.ndarray:
    pairs = zip(table["positives"].to_pylist(), table["negatives"].to_pylist(), reasons, strict=True)
    return np.array(
        [
            row
            for row, (positives, negatives, reason) in enumerate(pairs)
            if reason is None and negatives and not set(negatives).isdisjoint(positives)
        ],
        dtype=np.int64,
    )


def count_tokens(texts: Sequence[str | None], tokenizer: str) -> np.ndarray:
    """Count tokens with a tokenizer by directory or hub name."""
    import tokenizers

    path = Path(tokenizer) / "tokenizer.json"
    loaded = (
        tokenizers.Tokenizer.from_file(str(path)) if path.exists() else tokenizers.Tokenizer.from_pretrained(tokenizer)
    )
    loaded.no_truncation()
    return np.array([len(encoding.ids) for encoding in loaded.encode_batch_fast([text or "" for text in texts])])


def describe(table: pa.Table, entry: Any, config: CorpusConfig) -> tuple[pa.Table, Counter[str]]:
    """Name languages and scripts, and add keys."""
    texts = table["query"].to_pylist()
    positives = table["positives"].to_pylist()
    keys = [row_key(query, answers) for query, answers in zip(texts, positives, strict=True)]
    default = entry.language if isinstance(entry, ReadSource) else None
    given = [code or default for code in table["query_language"].to_pylist()]
    languages, confidences, checked = _languages(given, texts, positives, keys, config)
    query_scripts = _scripts(table["query_script"].to_pylist(), given, table["query"])
    first = pa.chunked_array([pa.array([answers[0] for answers in positives], pa.string())])
    positive_given = [
        code or (language if task != "bitext" else default)
        for code, language, task in zip(
            table["positive_language"].to_pylist(), languages, table["task"].to_pylist(), strict=True
        )
    ]
    columns = {
        "query_language": pa.array(languages, pa.string()),
        "query_script": pa.array(query_scripts, pa.string()),
        "positive_language": pa.array([code and _named(code) for code in positive_given], pa.string()),
        "positive_script": pa.array(_scripts(table["positive_script"].to_pylist(), positive_given, first), pa.string()),
    }
    for name, column in columns.items():
        table = _with(table, name, column)
    table = table.append_column(ROW.field("language_confidence"), pa.array(confidences, pa.float32()))
    return table.add_column(0, ROW.field("key"), pa.array(keys, ID)).cast(ROW), checked


def row_key(query: str, positives: Sequence[str]) -> bytes:
    """Hash what makes two rows the same row: the query and its positives."""
    return xxhash.xxh3_128_digest("\x1f".join((query, *positives)).encode("utf-8", "surrogatepass"))


def _named(code: str) -> str:
    """ISO 639-3; a second script of a language (`uzb_Cyrl`) stays in the name."""
    language, script = canonical(code)
    return f"{language}_{script}" if script and "_" in code else language


def _languages(
    given: Sequence[str | None],
    texts: Sequence[str],
    positives: Sequence[Sequence[str]],
    keys: Sequence[bytes],
    config: CorpusConfig,
) -> tuple[list[str], list[float | None], Counter[str]]:
    """Languages, confidences of those that were identified, and how given ones agree with what is identified."""
    model = config.languages.model
    languages: list[str] = []
    confidences: list[float | None] = []
    checked: Counter[str] = Counter()
    for code, text, answers, key in zip(given, texts, positives, keys, strict=True):
        if code is None:
            language, confidence = identifier(model)(f"{text} {answers[0][:_CONTEXT]}")
            languages.append(language)
            confidences.append(confidence)
            continue
        language = _named(code)
        languages.append(language)
        confidences.append(None)
        if draw_share(key, config.seed, b"check language") < config.languages.checked_share:
            bare = language.partition("_")[0]
            if is_known(bare, model):
                agrees = same_language(identifier(model)(text)[0], bare)
                checked["agree" if agrees else "disagree"] += 1
    return languages, confidences, checked


def _scripts(
    scripts: Sequence[str | None], languages: Sequence[str | None], texts: pa.ChunkedArray
) -> list[str | None]:
    """Given scripts, else those that the language code carries, else what most letters are."""
    carried = [script or (code and canonical(code)[1]) for script, code in zip(scripts, languages, strict=True)]
    if all(carried):
        return carried
    return [script or found for script, found in zip(carried, scripts_of(texts), strict=True)]


def rejected(table: pa.Table, reasons: Reasons) -> list[tuple[str, str, str, str]]:
    """Rows of `REJECT` for the candidates that have a reason."""
    places = [place for place, reason in enumerate(reasons) if reason is not None]
    shown = shown_rows(table.take(places)) if places else []
    sources = table["source"].take(places).to_pylist() if places else []
    return [(source, "corpus", reasons[place], row) for place, source, row in zip(places, sources, shown, strict=True)]


def shown_rows(table: pa.Table) -> list[str]:
    """Rows as JSON, long texts cut."""
    columns = table.select(["query", "positives", "negatives", "query_language", "label"])
    return [orjson.dumps(_shortened(row)).decode() for row in columns.to_pylist()]


def _shortened(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value[:_SHOWN] if isinstance(value, str) else [text and text[:_SHOWN] for text in value[:4]]
        for name, value in row.items()
        if value is not None
    }


def reject_table(rejects: Iterable[tuple[str, str, str, str]]) -> pa.Table:
    """Write rejects, sorted."""
    rows = sorted(rejects)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(REJECT)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, REJECT, strict=True)]
    return pa.table(arrays, schema=REJECT)


def _with(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
