"""Protects the corpus artifact: layout, reconciled counts, equal bytes whatever the order, resume after a crash."""

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import ArtifactKey, open_artifact, produce
from polyglossa.corpus import run as stage
from polyglossa.errors import DataError
from polyglossa.recipe.load import validate
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.records import DOCUMENT, PAIR, REJECT
from polyglossa.scratch.steps import Steps


def words(drawn: random.Random, count: int) -> str:
    return " ".join("".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=drawn.randint(2, 9))) for _ in range(count))


def make(root: Path, recipe: dict[str, Any]) -> Path:
    config = validate(CorpusConfig, recipe, "test")
    key = ArtifactKey(stage.STAGE, "corpus", stage.REVISION, config.model_dump(mode="json"))
    return Path(produce(str(root), key, lambda draft: stage.run(config, {}, draft, StagePlacement())).uri)


def digests(root: Path) -> dict[str, str]:
    files = sorted(
        path for path in root.rglob("*") if path.is_file() and path.name not in ("manifest.json", "COMMITTED")
    )
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources that share rows, near-duplicates, bad rows, and an evaluation set."""
    folder = tmp_path_factory.mktemp("data")
    drawn = random.Random(0)
    rows = [{"query": words(drawn, 8), "passage": words(drawn, 25)} for _ in range(300)]
    near = [{"query": row["query"].upper(), "passage": row["passage"] + "  "} for row in rows[:20]]
    pq.write_table(pa.Table.from_pylist([*rows, *rows[:10], *near]), folder / "a.parquet", row_group_size=50)
    lines = [json.dumps(row) for row in [*rows[100:150], {"query": "unique", "passage": "to b"}]]
    (folder / "b.jsonl").write_text("\n".join([*lines, "broken", json.dumps({"query": "", "passage": "x"})]))
    (folder / "eval").mkdir()
    texts = [{"_id": str(i), "text": rows[i]["passage"]} for i in range(200, 205)]
    (folder / "eval" / "corpus.jsonl").write_text("\n".join(map(json.dumps, texts)))
    return folder


def recipe(data: Path, **settings: Any) -> dict[str, Any]:
    source = {"kind": "pairs", "task": "retrieval", "language": "eng"}
    return {
        "data": str(data),
        "sources": [
            {"kind": "pydoc"},
            {
                **source,
                "name": "a",
                "files": ["a.parquet", "c*.parquet"] if (data / "c.parquet").exists() else ["a.parquet"],
            },
            {**source, "name": "b", "files": ["b.jsonl"]},
        ],
        "near_duplicates": {"permutations": 64, "bands": 8},
        "decontamination": {"sets": [{"name": "bench", "path": "eval"}]},
        **settings,
    }


@pytest.fixture(scope="module")
def built(data: Path, tmp_path_factory: pytest.TempPathFactory, ray_local: None) -> Path:
    return make(tmp_path_factory.mktemp("built"), recipe(data))


def test_the_artifact_holds_the_agreed_tables_and_reconciles(built: Path) -> None:
    tables = {name: pq.read_table(built / "pairs" / name) for name in ("pydoc", "a", "b")}
    rejects, documents = pq.read_table(built / "rejects"), pq.read_table(built / "documents")
    assert all(table.schema == PAIR for table in tables.values())
    assert (documents.schema, rejects.schema) == (DOCUMENT, REJECT)
    artifact = open_artifact(str(built))
    assert artifact.counts["rows_in"] == artifact.counts["rows_out"] + sum(artifact.counts["rejects"].values())
    assert artifact.counts["rows_out"] == sum(table.num_rows for table in tables.values())
    assert sum(artifact.counts["rejects"].values()) == rejects.num_rows
    assert artifact.counts["documents"] == documents.num_rows == len(set(documents["doc_id"].to_pylist()))
    described = artifact.read_json("sources.json")
    assert (described["pydoc"]["task"], described["pydoc"]["symmetric"]) == ("retrieval", False)
    assert {name: sum(one["rows"].values()) for name, one in described.items()} == {
        name: table.num_rows for name, table in tables.items()
    }
    known = set(documents["doc_id"].to_pylist()) | set(
        pq.read_table(built / "heldout/documents.parquet")["doc_id"].to_pylist()
    )
    for table in tables.values():
        assert {one for ids in table["positive_ids"].to_pylist() for one in ids} <= known


def test_each_source_is_accounted_for_by_reason(built: Path) -> None:
    account = open_artifact(str(built)).read_json("account.json")
    assert account["rows_in"]["a"] == 330
    assert account["rows_in"]["b"] == 53
    assert account["rejects"]["a"] == {"duplicate": 10, "near_duplicate": 20, "contaminated_document": 5}
    assert account["rejects"]["b"] == {"duplicate": 50, "empty": 1, "invalid_json": 1}
    assert account["duplicates"]["a/b"] == 50
    assert account["decontamination"]["removed"]["bench"]["contaminated_document"] == 5


def test_every_heldout_query_finds_its_answer_in_the_heldout_corpus_and_not_in_training(built: Path) -> None:
    queries = pq.read_table(built / "heldout" / "pydoc" / "queries.parquet").to_pylist()
    corpus = set(pq.read_table(built / "heldout" / "pydoc" / "corpus.parquet")["doc_id"].to_pylist())
    documents = {doc_id.hex() for doc_id in pq.read_table(built / "documents")["doc_id"].to_pylist()}
    assert len(queries) > 100
    assert {doc_id for query in queries for doc_id in query["positive_doc_ids"]} == corpus
    assert corpus.isdisjoint(documents)
    assert open_artifact(str(built)).read_json("heldout", "pydoc", "task.json") == {
        "name": "pydoc",
        "task_type": "retrieval",
        "instruction": "Given a description of a function, retrieve the Python code of that function.",
        "metric": "ndcg_at_10",
    }


def test_rows_in_other_files_and_another_order_give_the_same_pairs_and_documents(
    data: Path, built: Path, tmp_path: Path
) -> None:
    rows = pq.read_table(data / "a.parquet")
    other = tmp_path / "data"
    other.mkdir()
    pq.write_table(rows.slice(200).take(list(range(rows.num_rows - 200))[::-1]), other / "a.parquet")
    pq.write_table(rows.slice(0, 200), other / "c.parquet")
    (other / "b.jsonl").write_bytes((data / "b.jsonl").read_bytes())
    (other / "eval").symlink_to(data / "eval")
    made = digests(make(tmp_path / "out", recipe(other)))
    expected = digests(built)
    kept = [name for name in expected if name.startswith(("pairs", "documents", "heldout", "sources"))]
    assert {name: made[name] for name in kept} == {name: expected[name] for name in kept}


def test_children_know_the_artifact_by_its_content(data: Path, tmp_path: Path, ray_local: None) -> None:
    chosen = {"data": str(data), "sources": recipe(data)["sources"][2:]}
    again = {**chosen, "seed": 1}
    made = [make(tmp_path / str(place), one) for place, one in enumerate((chosen, chosen, again))]
    hashes = [open_artifact(str(uri)).hash for uri in made]
    assert hashes[0] == hashes[1] != hashes[2]


class Crash(Exception):
    """Stands for a driver that dies."""


@pytest.mark.parametrize("step", ["unique", "documents"])
def test_after_a_crash_only_unfinished_pieces_are_done_again_and_the_bytes_are_the_same(
    data: Path, built: Path, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    whole = Steps._on_ray

    def crash(steps: Steps, task: Any, pending: Any) -> Iterator[Any]:
        """Do half of the pieces of one step, then die."""
        if task.__name__ == step:
            yield from whole(steps, task, pending[: len(pending) // 2])
            raise Crash
        yield from whole(steps, task, pending)

    def watch(steps: Steps, task: Any, pending: Any) -> Iterator[Any]:
        ran.extend([task.__name__] * len(pending))
        yield from whole(steps, task, pending)

    monkeypatch.setattr(Steps, "_on_ray", crash)
    with pytest.raises(Crash):
        make(tmp_path, recipe(data))
    assert not list(tmp_path.rglob("COMMITTED"))
    monkeypatch.setattr(Steps, "_on_ray", watch)
    again = make(tmp_path, recipe(data))
    assert digests(again) == digests(built)
    assert "read" not in ran
    assert ran.count(step) == stage.MIN_BUCKETS - stage.MIN_BUCKETS // 2
    assert not list(tmp_path.rglob("*.work"))


def test_a_source_that_loses_too_many_rows_stops_the_stage(data: Path, tmp_path: Path, ray_local: None) -> None:
    (tmp_path / "b.jsonl").write_text('{"query": "q", "passage": "p"}\nbroken\n')
    source = {"kind": "pairs", "name": "b", "files": ["b.jsonl"], "task": "retrieval"}
    with pytest.raises(DataError, match=r"'b': 1 of 2 rows cannot be read \(invalid_json 1\); at most a share of 0.1"):
        make(tmp_path / "out", {"data": str(tmp_path), "sources": [source]})
    (tmp_path / "b.jsonl").write_text('{"query": "q", "text": "p"}\n')
    with pytest.raises(DataError, match=r"has no column 'passage'"):
        make(tmp_path / "out", {"data": str(tmp_path), "sources": [source]})


def test_caps_keep_the_queries_of_smallest_hash_and_reject_the_others(
    data: Path, tmp_path: Path, ray_local: None
) -> None:
    source = {"kind": "pairs", "name": "a", "task": "retrieval", "files": ["a.parquet"], "language": "eng"}
    chosen = {"data": str(data), "sources": [source], "max_queries": 40}
    root = make(tmp_path, chosen)
    few = pq.read_table(root / "pairs" / "a")
    more = pq.read_table(make(tmp_path, {**chosen, "max_queries": 90}) / "pairs" / "a")
    assert (few.num_rows, more.num_rows) == (40, 90)
    assert set(few["query"].to_pylist()) < set(more["query"].to_pylist())
    assert open_artifact(str(root)).counts["rejects"] == {"duplicate": 10, "over_cap": 280}
