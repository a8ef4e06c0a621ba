"""Protects the readers: every format is read from real files, also on S3, and a bad row costs that row."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from corpus.sources.reading import ROWS, pairs, read, write
from polyglossa.errors import DataError
from polyglossa.readers.files import list_files
from polyglossa.readers.pieces import cut
from polyglossa.readers.tables import Columns, read_piece


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.tsv.zst", "a.parquet", "a.csv", "a.tsv"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    rows, bad = read(tmp_path, pairs(name, columns={"language": "language"}))
    assert [(row["query"], row["positives"], row["query_language"]) for row in rows] == [
        (row["query"], [row["passage"]], "eng") for row in ROWS
    ]
    assert not bad


def test_globs_and_folders_read_each_file_once_in_one_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.parquet"):
        write(tmp_path / name)
    (tmp_path / "_SUCCESS").write_text("")
    given = [list_files([str(tmp_path / "*.*"), str(tmp_path / "a.parquet")], "s"), list_files([str(tmp_path)], "s")]
    assert given[0] == given[1]
    assert [Path(file.uri).name for file in given[0]] == ["a.parquet", "b.jsonl"]


def test_pieces_of_a_file_hold_every_row_once(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        write(tmp_path / name)
        (file,) = list_files([str(tmp_path / name)], "s")
        for piece_bytes in (1, 64, 100, 1000, 10_000):
            kind = str(file.format)
            batches = [
                b
                for piece in cut(file, kind, piece_bytes)
                for b in read_piece(piece, kind, Columns({"query": "text"}, {}))
            ]
            found = [text for batch in batches for text in batch.table["query"].to_pylist()]
            assert found == [row["query"] for row in ROWS], (name, piece_bytes)


def test_a_bad_json_row_costs_that_row(tmp_path: Path) -> None:
    lines = [
        b'{"query": "q", "passage": "p"}',
        b'{"query": "broken',
        b'{"query": "\xff\xfe", "passage": "p"}',
        b'["not", "an", "object"]',
        b'{"query": "no passage"}',
        b'{"query": 7, "passage": "p"}',
        b'{"query": "list", "passage": ["p1", "p2"]}',
        b'{"query": null, "passage": "p"}',
        b"",
        json.dumps({"query": "huge", "passage": "x" * 20_000_000}).encode(),
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    rows, bad = read(tmp_path, pairs("a.jsonl"))
    assert [row["query"] for row in rows] == ["q", "list", None, "huge"]
    assert rows[1]["positives"] == ["p1", "p2"]
    assert bad == {"invalid_json": 1, "invalid_utf8": 1, "not_an_object": 1, "missing_column": 1, "wrong_type": 1}


def test_a_bad_csv_row_costs_that_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'query,passage\n"two\nlines","a ""b"""\nonly one\n\xff,p\nq,p\n')
    rows, bad = read(tmp_path, pairs("a.csv"))
    assert [(row["query"], row["positives"]) for row in rows] == [("two\nlines", ['a "b"']), ("q", ["p"])]
    assert bad == {"wrong_columns": 1, "invalid_utf8": 1}


def test_invalid_utf8_in_parquet_costs_that_row(tmp_path: Path) -> None:
    broken = pa.array([b"good", b"\xff", None], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"query": broken, "passage": ["p"] * 3}), tmp_path / "a.parquet")
    rows, bad = read(tmp_path, pairs("a.parquet"))
    assert [row["query"] for row in rows] == ["good", None]
    assert bad == {"invalid_utf8": 1}


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_wrong_mapping_names_the_columns_that_exist(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError, match=r"no column 'answer'; it has language, passage, query"):
        read(tmp_path, pairs(name, columns={"positive": "answer"}))


def test_a_column_of_the_wrong_type_and_a_missing_file_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"query": [1, 2], "passage": ["a", "b"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'query' holds int64"):
        read(tmp_path, pairs("a.parquet"))
    with pytest.raises(DataError, match=r"matches no file"):
        read(tmp_path, pairs("none*.parquet"))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"unknown suffix.*`format` may say"):
        read(tmp_path, pairs("a.txt"))
    (tmp_path / "b.parquet").write_text("x")
    with pytest.raises(DataError, match=r"not a readable Parquet file"):
        read(tmp_path, pairs("b.parquet"))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket on a loopback server; yields the query that names the endpoint."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    before = {name: os.environ.get(name) for name in keys}
    os.environ.update(keys)
    host, port = server.get_host_and_port()
    yield f"?scheme=http&endpoint_override={host}:{port}&region=us-east-1&allow_bucket_creation=true"
    server.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def test_files_on_s3_are_listed_by_glob_and_read_in_pieces(tmp_path: Path, s3: str) -> None:
    from polyglossa.artifact import open_storage

    filesystem, bucket = open_storage(f"s3://corpus{s3}")
    filesystem.create_dir(bucket)
    for name in ("a.jsonl", "b.parquet", "c.jsonl.gz"):
        write(tmp_path / name)
        with filesystem.open_output_stream(f"{bucket}/in/{name}", compression=None) as stream:
            stream.write((tmp_path / name).read_bytes())
    rows, bad = read("", pairs(f"s3://corpus/in/*.*{s3}"))
    assert len(rows) == 60
    assert not bad
    pieces = [piece for file in list_files([f"s3://corpus/in/a.jsonl{s3}"], "s") for piece in cut(file, "jsonl", 100)]
    assert (
        sum(b.table.num_rows for piece in pieces for b in read_piece(piece, "jsonl", Columns({"query": "text"}, {})))
        == 20
    )
