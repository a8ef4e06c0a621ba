"""Protects what rows mean: every layout that teams have becomes queries with their answers, and nothing is lost."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.sources.reading import ROWS, jsonl, pairs, read, write
from polyglossa.errors import DataError


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
