"""Protects the readers: every layout that teams have is read from real files, and a bad row costs that row."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from moto.server import ThreadedMotoServer

from polyglossa.corpus.files import cut, list_files
from polyglossa.corpus.shards import plan_shards, read_shard
from polyglossa.corpus.tables import Columns, read_piece
from polyglossa.errors import DataError
from polyglossa.recipe.corpus import CorpusConfig
from polyglossa.recipe.load import validate

ROWS = [{"query": f"question {i}", "passage": f"answer {i}", "language": "eng"} for i in range(20)]


def read(data: Path | str, *sources: dict[str, Any]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Candidates and reasons of everything that the recipe entries name."""
    config = validate(CorpusConfig, {"data": str(data), "sources": list(sources)}, "test")
    readings = [reading for shard in plan_shards(config) for reading in read_shard(shard, config)]
    candidates = [row for reading in readings for row in reading.candidates.to_pylist()]
    return candidates, Counter(bad.reason for reading in readings for bad in reading.bad)


def pairs(files: str, **settings: Any) -> dict[str, Any]:
    return {"kind": "pairs", "name": "s", "task": "retrieval", "files": [files], **settings}


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def csv_text(rows: list[dict[str, Any]], mark: str) -> bytes:
    return "\n".join([mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]).encode()


def write(path: Path) -> None:
    """Write `ROWS` in the format that the suffix names."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=7)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(jsonl(ROWS)))
    elif path.suffix == ".zst":
        path.write_bytes(zstandard.compress(csv_text(ROWS, "\t")))
    else:
        path.write_bytes(
            jsonl(ROWS) if path.suffix == ".jsonl" else csv_text(ROWS, "," if path.suffix == ".csv" else "\t")
        )


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
    with pytest.raises(DataError, match=r"unknown suffix; set `format`"):
        read(tmp_path, pairs("a.txt"))
    (tmp_path / "b.parquet").write_text("x")
    with pytest.raises(DataError, match=r"not a readable Parquet file"):
        read(tmp_path, pairs("b.parquet"))


def test_everything_that_a_row_brings_is_carried(tmp_path: Path) -> None:
    row = {
        "q": "a", "p": "b", "n1": ["c", "d"], "n2": "e", "g": 7, "l": "x", "s": 0.5, "split": "test", "lang": "deu",
        "plang": "eng", "script": "Latn", "i": "Find it.",
    }  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(jsonl([row, {**row, "n2": "", "split": "dev"}]))
    columns = {
        "query": "q", "positive": "p", "negatives": ["n1", "n2"], "group": "g", "label": "l", "score": "s",
        "split": "split", "language": "lang", "positive_language": "plang", "script": "script", "instruction": "i",
    }  # fmt: skip
    (one, two), _ = read(tmp_path, pairs("a.jsonl", columns=columns, task="sts"))
    assert one == {
        "query": "a", "query_language": "deu", "query_script": "Latn", "positives": ["b"], "positive_language": "eng",
        "positive_script": None, "negatives": ["c", "d", "e"], "task": "sts", "instruction": "Find it.", "group": "7",
        "label": "x", "score": 0.5, "split": "heldout", "source": "s",
    }  # fmt: skip
    assert (two["negatives"], two["split"]) == (["c", "d"], "validation")


def test_the_published_layout_tells_two_way_classification_by_its_one_negative(tmp_path: Path) -> None:
    many = {"query": "q", "passage": "p", **{f"negative_{i}": f"n{i}" for i in range(1, 25)}}
    pq.write_table(pa.Table.from_pylist([many]), tmp_path / "retrieval.parquet")
    pq.write_table(
        pa.Table.from_pylist([{"query": "q", "passage": "yes", "negative_1": "no"}]), tmp_path / "two.parquet"
    )
    rows, _ = read(tmp_path, {"kind": "f2llm", "name": "s", "files": ["*.parquet"], "task": "clustering"})
    assert [(row["task"], len(row["negatives"])) for row in rows] == [("clustering", 24), ("classification", 1)]


def test_a_beir_directory_gives_each_query_with_all_its_answers(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    corpus = [{"_id": f"d{i}", "title": "T" if i == 1 else "", "text": f"text {i}"} for i in range(4)]
    (tmp_path / "corpus.jsonl").write_bytes(jsonl(corpus))
    (tmp_path / "queries.jsonl").write_bytes(jsonl([{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}]))
    judgements = ["query-id\tcorpus-id\tscore", "q1\td1\t1", "q1\td2\t2", "q1\td3\t0", "q2\tgone\t1", "q3\td1\t1"]
    (tmp_path / "qrels" / "train.tsv").write_text("\n".join(judgements))
    rows, bad = read(tmp_path, {"kind": "beir", "name": "s", "path": "."})
    assert [(row["query"], row["positives"], row["negatives"]) for row in rows] == [
        ("one", ["T text 1", "text 2"], ["text 3"])
    ]
    assert bad == {"missing_document": 1, "missing_query": 1}
    with pytest.raises(DataError, match=r"has no qrels/dev.tsv"):
        read(tmp_path, {"kind": "beir", "name": "s", "path": ".", "split": "dev"})


def bitext_rows() -> list[dict[str, Any]]:
    return [
        {"index_id": i, "language": language, "script": script, "text": f"{language}-{script} {i}"}
        for language, script in (("deu", "Latn"), ("eng", "Latn"), ("zho", "Hans"), ("zho", "Hant"))
        for i in range(5)
    ]


def test_long_bitext_pairs_each_text_with_the_pivot_and_another_language(tmp_path: Path) -> None:
    alone = {"index_id": 99, "language": "deu", "script": "Latn", "text": "alone"}
    pq.write_table(pa.Table.from_pylist([*bitext_rows(), alone]), tmp_path / "a.parquet")
    source = {"kind": "bitext", "name": "s", "files": ["a.parquet"], "script_column": "script", "partners": 2}
    rows, bad = read(tmp_path, source)
    assert len(rows) == 5 * 3 * 2  # three texts besides the pivot's, two partners each
    assert all(
        row["query"].rpartition(" ")[2] == row["positives"][0].rpartition(" ")[2] == row["group"] for row in rows
    )
    assert sum("eng" in (row["query_language"], row["positive_language"]) for row in rows) == 15
    assert {("eng", "deu"), ("deu", "eng")} <= {(row["query_language"], row["positive_language"]) for row in rows}
    assert bad == {"no_partner": 1}


def test_wide_bitext_pairs_the_columns_of_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("en\tde\tfr\nHello\tHallo\tBonjour\nBye\t\tSalut\n")
    source = {"kind": "bitext", "name": "s", "files": ["a.tsv"], "layout": "wide", "partners": 1}
    rows, bad = read(tmp_path, {**source, "languages": {"en": "eng", "de": "deu", "fr": "fra"}})
    assert {frozenset((row["query"], row["positives"][0])) for row in rows} == {
        frozenset(("Hello", "Hallo")), frozenset(("Hello", "Bonjour")), frozenset(("Bye", "Salut"))
    }  # fmt: skip
    assert not bad


def test_labelled_text_asks_for_its_label_among_others(tmp_path: Path) -> None:
    lines = [f"text {i},{'abc'[i % 3]}" for i in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *lines, "text 0,a", "single,d", ",a"]))
    rows, bad = read(tmp_path, {"kind": "labelled", "name": "s", "files": ["a.csv"], "negatives": 4})
    label = {f"text {i}": "abc"[i % 3] for i in range(30)} | {"single": "d"}
    assert len(rows) == 30
    for row in rows:
        assert row["task"] == "clustering"
        assert label[row["positives"][0]] == row["label"] == row["group"]
        assert row["query"] not in row["positives"]
        assert len(row["negatives"]) >= 3
        assert row["label"] not in {label[text] for text in row["negatives"]}
    assert bad == {"duplicate": 1, "no_partner": 1, "empty": 1}


def test_two_labels_are_two_way_classification(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\ngreat,positive\nawful,negative\n")
    rows, _ = read(tmp_path, {"kind": "labelled", "name": "s", "files": ["a.csv"]})
    assert {(row["query"], row["positives"][0], row["negatives"][0], row["task"]) for row in rows} == {
        ("great", "positive", "negative", "classification"),
        ("awful", "negative", "positive", "classification"),
    }


@pytest.mark.parametrize("saved", [True, False])
def test_a_hugging_face_data_set_is_read_from_a_saved_directory_or_by_name(
    tmp_path: Path, saved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    if saved:
        datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(str(folder))
    else:
        folder.mkdir()
        write(folder / "train.parquet")
    source = {"kind": "dataset", "name": "s", "dataset": "set", "task": "retrieval"}
    rows, bad = read(tmp_path, source)
    assert [row["query"] for row in rows] == [row["query"] for row in ROWS]
    assert not bad
    with pytest.raises(DataError, match="cannot be opened"):
        read(tmp_path, {**source, "split": "nothing"})


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
