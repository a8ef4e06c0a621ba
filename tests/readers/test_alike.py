"""Protects the one reader: a table in any format, encoding and dialect gives the same rows at every entry point."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyglossa.readers.files import list_files
from polyglossa.readers.pieces import cut
from polyglossa.readers.tables import Columns, read_piece
from readers.fields import Row, by_corpus, by_init, evaluated

NAMES = ["query", "passage", "label"]
BLANKS = "\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029"
LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters=BLANKS + '\x00"')
# Cells begin with a letter so that none is blank, and quotes stand inside, doubled by csv's writer.
INNER = st.text(st.one_of(LETTERS, st.sampled_from('",;|')), max_size=12)
TEXTS = st.builds(lambda first, rest: first + rest, st.sampled_from("aé漢0"), INNER)
KEYS = st.one_of(st.sampled_from(["1", "01", "000001", "1.0", "true", "nan", "None", "1e3", "-0", "2024-01-01"]), TEXTS)
TABLES = st.lists(st.tuples(TEXTS, TEXTS, KEYS), min_size=2, max_size=12)
SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def written_json(rows: list[Row], shape: str) -> str:
    objects = [dict(zip(NAMES, row, strict=True)) for row in rows]
    if shape == "lines":
        return "\n".join(json.dumps(one, ensure_ascii=False) for one in objects)
    if shape == "pretty":
        return "\n".join(json.dumps(one, ensure_ascii=True, indent=2) for one in objects)
    return json.dumps(objects, ensure_ascii=False, indent=1 if shape == "array" else None)


def written_csv(rows: list[Row], delimiter: str, ends: str, quoting: int) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=ends, quoting=quoting)
    writer.writerows([NAMES, *rows])
    return out.getvalue()


def check(path: Path, rows: list[Row]) -> None:
    found, bad, _ = by_corpus(path)
    assert not bad
    assert found == rows
    assert evaluated(path) == rows
    seen = by_init(path)
    assert seen.rows == len(rows)
    assert [tuple(row) for row in zip(*(map(str, seen.columns[name]) for name in NAMES), strict=True)] == rows


@SETTINGS
@given(
    rows=TABLES,
    delimiter=st.sampled_from(",;\t|"),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    suffix=st.sampled_from([".csv", ".CSV", ".csv.gz", ".csv.zst"]),
)
def test_csv(
    tmp_path: Path, rows: list[Row], delimiter: str, ends: str, quoting: int, encoding: str, suffix: str
) -> None:
    data = written_csv(rows, delimiter, ends, quoting).encode(encoding)
    check(packed(tmp_path / f"a{suffix}", data), rows)


@SETTINGS
@given(rows=TABLES, ends=st.sampled_from(["\n", "\r\n"]), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_tsv_without_quoting(tmp_path: Path, rows: list[Row], ends: str, encoding: str) -> None:
    lines = ["\t".join(row) for row in [tuple(NAMES), *rows]]
    check(packed(tmp_path / "a.tsv", ends.join(lines).encode(encoding)), rows)


@SETTINGS
@given(
    rows=TABLES,
    shape=st.sampled_from(["lines", "array", "compact", "pretty"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    suffix=st.sampled_from([".jsonl", ".json", ".JSONL", ".ndjson", ".jsonl.gz", ".json.zst"]),
)
def test_json(tmp_path: Path, rows: list[Row], shape: str, encoding: str, suffix: str) -> None:
    check(packed(tmp_path / f"a{suffix}", written_json(rows, shape).encode(encoding)), rows)


TEXT_TYPES = [
    pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(),
    pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.large_string()),
]  # fmt: skip


@SETTINGS
@given(rows=TABLES, kinds=st.tuples(*[st.sampled_from(TEXT_TYPES)] * 3))
def test_parquet_of_every_text_type(tmp_path: Path, rows: list[Row], kinds: tuple[pa.DataType, ...]) -> None:
    columns = zip(NAMES, zip(*rows, strict=True), kinds, strict=True)
    table = pa.table({name: pa.array(list(values), pa.string()).cast(kind) for name, values, kind in columns})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=5)
    check(tmp_path / "a.parquet", rows)


LIST_TYPES = [
    pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(pa.string(), 2), pa.list_view(pa.string()),
    pa.list_(pa.string_view()), pa.list_(pa.dictionary(pa.int8(), pa.string())), pa.list_(pa.binary()),
]  # fmt: skip


@pytest.mark.parametrize("kind", LIST_TYPES, ids=str)
def test_parquet_of_every_list_type(tmp_path: Path, kind: pa.DataType) -> None:
    lists = pa.array([["a", "b"], ["c", "d"]], kind)
    pq.write_table(pa.table({"query": ["q", "r"], "passage": lists, "label": ["x", "y"]}), tmp_path / "a.parquet")
    rows, bad, _ = by_corpus(tmp_path / "a.parquet")
    assert not bad
    assert rows == [("q", "a", "x"), ("r", "c", "y")]


KEYED: list[tuple[Any, pa.DataType, str]] = [
    (2**53 + 1, pa.int64(), "9007199254740993"),
    (2**64 - 1, pa.uint64(), "18446744073709551615"),
    (7, pa.dictionary(pa.int8(), pa.int64()), "7"),
    (3.0, pa.float64(), "3"),
    (0.5, pa.float32(), "0.5"),
    (True, pa.bool_(), "true"),
]


@pytest.mark.parametrize(("value", "kind", "text"), KEYED, ids=[text for _, _, text in KEYED])
def test_numbers_as_keys_read_alike_in_json_and_parquet(
    tmp_path: Path, value: Any, kind: pa.DataType, text: str
) -> None:
    table = pa.table({"query": ["q"], "passage": ["p"], "label": pa.array([value], kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(json.dumps({"query": "q", "passage": "p", "label": value}))
    for name in ("a.parquet", "a.jsonl"):
        assert by_corpus(tmp_path / name)[0] == evaluated(tmp_path / name) == [("q", "p", text)]


@SETTINGS
@given(rows=TABLES, piece_bytes=st.integers(1, 400), shape=st.sampled_from(["lines", "array", "pretty"]))
def test_pieces_of_json_hold_every_row_once_whatever_its_shape(
    tmp_path: Path, rows: list[Row], piece_bytes: int, shape: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + written_json(rows, shape).encode())
    (file,) = list_files([str(tmp_path / "a.jsonl")], "s")
    columns = Columns({"query": "text"}, {})
    batches = [batch for piece in cut(file, "jsonl", piece_bytes) for batch in read_piece(piece, "jsonl", columns)]
    assert [text for batch in batches for text in batch.table["query"].to_pylist()] == [row[0] for row in rows]


def packed(path: Path, data: bytes) -> Path:
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path
