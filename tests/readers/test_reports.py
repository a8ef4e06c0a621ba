"""Protects what users reported: every file that was misread, refused or lost in silence, with its right value."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.errors import DataError
from polyglossa.scaffold.look import look
from polyglossa.scaffold.propose import propose
from readers.fields import by_corpus, by_evaluation, by_init, corpus_rows, evaluated

GOOD = b'{"query": "q%d", "passage": "p%d", "label": "l"}'
LINES = [GOOD % (number, number) for number in range(40)]
ENTRIES: list[Callable[[Path], object]] = [by_init, by_corpus, by_evaluation]


def put(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "\ufeffquestion,answer\nq,p\n")
    entry = propose(by_init(path)).entry
    assert entry["columns"] == {"query": "question", "positive": "answer"}
    rows, bad, _ = corpus_rows(entry)
    assert [(row["query"], row["positives"]) for row in rows] == [("q", ["p"])]
    assert not bad


def test_a_byte_order_mark_costs_no_row_of_json_lines(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + b"\n".join(LINES))
    assert by_init(path).rows == len(by_corpus(path)[0]) == len(evaluated(path)) == 40


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"query": "broken', "invalid_json"),
        (b'{"query": "\\ud83d", "passage": "p", "label": "l"}', "lone_surrogate"),
        (b'{"query": "q", "passage": "p", "label": NaN}', "not_finite"),
        (b'{"query": "q", "query": "r", "passage": "p", "label": "l"}', "duplicate_key"),
        (b'{"query": "\xff", "passage": "p", "label": "l"}', "invalid_utf8"),
        (b'{"query": {"text": "q"}, "passage": "p", "label": "l"}', "wrong_type"),
        (b'["query"]', "not_an_object"),
        (b'{"query": "q", "passage": "p", "label": 123456789012345678901234567890}', "inexact_number"),
    ],
)
def test_a_bad_line_costs_that_line_with_its_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    path = put(tmp_path, "a.jsonl", b"\n".join([*LINES, line]))
    rows, bad, _ = by_corpus(path)
    assert (len(rows), dict(bad)) == (40, {reason: 1})
    whole = by_evaluation(path)
    assert (whole.table.num_rows, dict(whole.bad)) == (40, {reason: 1})
    assert by_init(path).rows in (40, 41)  # which columns are read is not known yet


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"\\ud83d"', "123456789012345678901234567890", "[{}]"])
def test_a_value_in_a_column_that_nobody_reads_costs_nothing(tmp_path: Path, value: str) -> None:
    path = put(tmp_path, "a.jsonl", f'{{"query": "q", "passage": "p", "label": "l", "other": {value}}}')
    assert by_corpus(path)[0] == evaluated(path) == [("q", "p", "l")]
    assert by_init(path).rows == 1


def test_bytes_that_are_no_utf8_in_a_column_that_nobody_reads_cost_nothing(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", b"query,passage,label,other\nq,p,l,\xff\n")
    assert by_corpus(path)[0] == evaluated(path) == [("q", "p", "l")]


def test_files_in_another_encoding_lose_their_rows_with_a_reason(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "query,passage,label\nschön,p,l\nq,p,l\n".encode("cp1252"))
    rows, bad, _ = by_corpus(path)
    assert (rows, dict(bad)) == ([("q", "p", "l")], {"invalid_utf8": 1})


def test_quotes_in_tsv_are_characters(tmp_path: Path) -> None:
    lines = ["query\tpassage\tlabel", '"Open\tp1\tl', "q2\tp2\tl", 'The "blue" sheet\tp3\tl', 'q4\t5" pipe\tl']
    path = put(tmp_path, "a.tsv", "\n".join(lines))
    expected = [('"Open', "p1", "l"), ("q2", "p2", "l"), ('The "blue" sheet', "p3", "l"), ("q4", '5" pipe', "l")]
    assert by_corpus(path)[0] == evaluated(path) == expected
    assert by_init(path).columns["query"] == [row[0] for row in expected]


def test_tsv_that_was_written_with_doubled_quotes_is_noticed(tmp_path: Path) -> None:
    path = put(tmp_path, "a.tsv", 'query\tpassage\tlabel\n"The ""blue"" sheet"\tp\tl\n"two\nlines"\tp2\tl\n')
    rows, bad, notices = by_corpus(path)
    assert rows == evaluated(path) == [('The "blue" sheet', "p", "l"), ("two\nlines", "p2", "l")]
    assert not bad
    for said in (notices, by_evaluation(path).notices, by_init(path).notices):
        assert "doubled quotes" in said[0]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_row_of_too_many_cells_costs_that_row(tmp_path: Path, entry: Callable[[Path], object]) -> None:
    rows = "".join(f"q{number},p,l\n" for number in range(20))
    entry(put(tmp_path, "a.csv", f"query,passage,label\n{rows}q,p,l,more\nlast\n"))
    found, bad, _ = by_corpus(tmp_path / "a.csv")
    assert (len(found), dict(bad)) == (20, {"wrong_columns": 2})


def test_a_bad_row_names_header_delimiter_and_line(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "query;passage\na;b\nq;p;more\n")
    with pytest.raises(DataError, match=r"line 3: 3 cells \(header query, passage, cut at each semicolon\)"):
        by_init(path)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_init_proposes_the_delimiter_and_the_corpus_reads_with_it(tmp_path: Path, mark: str) -> None:
    path = put(tmp_path, "a.csv", f"question{mark}answer\nhow, why, when?{mark}so, and so\n")
    entry = propose(by_init(path)).entry
    assert entry["delimiter"] == mark
    rows, bad, _ = corpus_rows(entry)
    assert [(row["query"], row["positives"]) for row in rows] == [("how, why, when?", ["so, and so"])]
    assert not bad


def test_excel_names_its_delimiter_in_the_first_line(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "sep=;\r\nquery;passage;label\r\na, b;p;l\r\n".encode("utf-8-sig"))
    assert by_corpus(path)[0] == evaluated(path) == [("a, b", "p", "l")]
    assert by_init(path).rows == 1


def test_excel_saves_unicode_text_as_utf16_with_tabs(tmp_path: Path) -> None:
    path = put(tmp_path, "a.tsv", 'query\tpassage\tlabel\r\nq\t"a ""b"""\tl\r\n'.encode("utf-16"))
    assert by_corpus(path)[0] == evaluated(path) == [("q", 'a "b"', "l")]
    assert by_init(path).rows == 1


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_seen(tmp_path: Path, encoding: str) -> None:
    path = put(tmp_path, "a.jsonl", b"\n".join(LINES).decode().encode(encoding))
    assert len(by_corpus(path)[0]) == len(evaluated(path)) == by_init(path).rows == 40


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_a_huge_cell_is_read(tmp_path: Path, name: str) -> None:
    text = "x" * 2_000_000
    mark = "\t" if name.endswith("tsv") else ","
    row = {"query": "q", "passage": text, "label": "l"}
    path = put(tmp_path, name, json.dumps(row) if "json" in name else f"{mark.join(row)}\n{mark.join(row.values())}\n")
    assert by_corpus(path)[0] == evaluated(path) == [("q", text, "l")]
    assert by_init(path).rows == 1


def test_a_quote_that_does_not_close_costs_its_line_and_no_other(tmp_path: Path) -> None:
    lines = ["query,passage,label", 'q1,"open,l', "q2,p2,l", 'q3,"closed",l', "q4,p4,l", 'q5,"never']
    rows, bad, _ = by_corpus(put(tmp_path, "a.csv", "\n".join(lines)))
    assert rows == [("q2", "p2", "l"), ("q3", "closed", "l"), ("q4", "p4", "l")]
    assert dict(bad) == {"invalid_csv": 2}


def test_bad_rows_of_a_json_array_cost_themselves_and_a_cut_one_is_refused(tmp_path: Path) -> None:
    array = b"[" + b",\n".join([*LINES, b'{"query": oops}', b"7"]) + b"]"
    rows, bad, _ = by_corpus(put(tmp_path, "a.json", array))
    assert (len(rows), dict(bad)) == (40, {"invalid_json": 1, "not_an_object": 1})
    for entry in ENTRIES:
        with pytest.raises(DataError, match="does not close"):
            entry(put(tmp_path, "b.json", array[:-40]))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b"PK\x03\x04rest", "spreadsheet; unpack it, or save it as CSV"),
        ("a.jsonl", b"\x1f\x8brest", "name it .gz"),
        ("a.csv", b"PAR1rest", "name it .parquet"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.parquet", b"no parquet", "not a readable Parquet file"),
        ("a.csv", b"query,query,passage,label\nq,r,p,l\n", "2 columns named 'query'"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, entry: Callable[[Path], object], name: str, data: bytes, said: str
) -> None:
    with pytest.raises(DataError, match=said) as raised:
        entry(put(tmp_path, name, data))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("entry", ENTRIES)
def test_two_columns_of_one_name_in_parquet_are_one_line(tmp_path: Path, entry: Callable[[Path], object]) -> None:
    table = pa.Table.from_arrays([pa.array(["q"])] * 4, names=["query", "query", "passage", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has 2 columns named 'query'"):
        entry(tmp_path / "a.parquet")


def test_two_columns_of_one_name_that_nobody_reads_do_no_harm(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "query,passage,label,note,note\nq,p,l,1,2\n")
    assert by_corpus(path)[0] == evaluated(path) == [("q", "p", "l")]


def test_blank_lines_trailing_delimiters_and_spaced_headers_are_read(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "\n query , passage,label \n\nq,p,l,,\n   \nr,s,m\n")
    assert by_corpus(path)[0] == evaluated(path) == [("q", "p", "l"), ("r", "s", "m")]
    assert by_init(path).rows == 2


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_line_ends_of_every_kind_are_read(tmp_path: Path, name: str) -> None:
    rows = [{"query": f"q{number}", "passage": "p", "label": "l"} for number in range(4)]
    lines = [json.dumps(row) for row in rows]
    if name == "a.csv":
        lines = ["query,passage,label", *(",".join(row.values()) for row in rows)]
    for ends in (["\r"], ["\n"], ["\r\n"], ["\r\n", "\n"], ["\r", "\n"]):
        text = "".join(line + ends[place % len(ends)] for place, line in enumerate(lines))
        path = put(tmp_path, name, text)
        assert [row[0] for row in by_corpus(path)[0]] == [row[0] for row in evaluated(path)] == ["q0", "q1", "q2", "q3"]


@pytest.mark.parametrize(
    ("name", "data"), [("a.csv", "query,passage,label\n"), ("a.csv", ""), ("a.jsonl", "\n\n"), ("a.json", "[]")]
)
def test_a_file_without_rows_has_none(tmp_path: Path, name: str, data: str) -> None:
    assert by_corpus(put(tmp_path, name, data))[0] == []
    assert by_init(tmp_path / name).rows == 0


def test_thousands_of_columns_are_read(tmp_path: Path) -> None:
    names = ["query", "passage", "label", *(f"c{number}" for number in range(5000))]
    path = put(tmp_path, "a.csv", "\n".join(",".join(row) for row in (names, ["q", "p", "l"] + ["0"] * 5000)))
    assert by_corpus(path)[0] == evaluated(path) == [("q", "p", "l")]


@pytest.mark.parametrize("kind", [pa.list_(pa.struct({"a": pa.string()})), pa.struct({"a": pa.string()}), pa.int64()])
def test_a_column_that_cannot_be_text_is_named(tmp_path: Path, kind: pa.DataType) -> None:
    value = 1 if pa.types.is_integer(kind) else {"a": "x"} if pa.types.is_struct(kind) else [{"a": "x"}]
    table = pa.table({"query": ["q"], "passage": pa.array([value], kind), "label": ["l"]})
    pq.write_table(table, tmp_path / "a.parquet")
    for entry in (by_corpus, by_evaluation):
        with pytest.raises(DataError, match="column 'passage' holds"):
            entry(tmp_path / "a.parquet")


def test_columns_of_nulls_numbers_dates_and_decimals_are_keys(tmp_path: Path) -> None:
    import datetime
    import decimal

    values = [None, 7, datetime.date(2024, 1, 2), decimal.Decimal("1.50"), False]
    kinds = [pa.null(), pa.int32(), pa.date32(), pa.decimal128(5, 2), pa.bool_()]
    for value, kind, text in zip(values, kinds, [None, "7", "2024-01-02", "1.50", "false"], strict=True):
        table = pa.table({"query": ["q"], "passage": ["p"], "label": pa.array([value], kind)})
        pq.write_table(table, tmp_path / "a.parquet")
        assert by_corpus(tmp_path / "a.parquet")[0] == evaluated(tmp_path / "a.parquet") == [("q", "p", text)]


def test_invalid_text_in_parquet_costs_its_row_in_lists_too(tmp_path: Path) -> None:
    broken = pa.array([[b"good"], [b"\xff"]], pa.list_(pa.binary()))
    pq.write_table(pa.table({"query": ["q", "r"], "passage": broken, "label": ["l", "l"]}), tmp_path / "a.parquet")
    rows, bad, _ = by_corpus(tmp_path / "a.parquet")
    assert (rows, dict(bad)) == ([("q", "good", "l")], {"invalid_utf8": 1})


@pytest.mark.parametrize("score", ["nan", "inf", "1_0", "0,5", "high"])
def test_a_score_that_is_no_number_costs_its_row(tmp_path: Path, score: str) -> None:
    path = put(tmp_path, "a.tsv", f"query\tpassage\tscore\nq\tp\t0.5\nq2\tp2\t{score}\n")
    columns = {"query": "query", "positive": "passage", "score": "score"}
    rows, bad, _ = corpus_rows({"kind": "pairs", "task": "sts", "files": [str(path)], "columns": columns})
    assert ([row["score"] for row in rows], bad.total()) == ([0.5], 1)


def test_a_number_that_is_not_finite_in_parquet_costs_its_row(tmp_path: Path) -> None:
    table = pa.table({"query": ["q", "r"], "passage": ["p", "p"], "score": [0.5, float("nan")]})
    pq.write_table(table, tmp_path / "a.parquet")
    columns = {"query": "query", "positive": "passage", "score": "score"}
    source = {"kind": "pairs", "task": "sts", "files": [str(tmp_path / "a.parquet")], "columns": columns}
    rows, bad, _ = corpus_rows(source)
    assert ([row["query"] for row in rows], dict(bad)) == (["q"], {"not_finite": 1})


def test_files_with_glob_characters_in_their_names_are_found_again(tmp_path: Path) -> None:
    path = put(tmp_path, "a [1].csv", "question,answer\nq,p\n")
    rows, _, _ = corpus_rows(propose(look([path])[0]).entry)
    assert len(rows) == 1
