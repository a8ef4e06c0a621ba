"""Protects the corpus artifact: its layout, its reconciled counts, and the same bytes every time."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import ArtifactKey, open_artifact, produce
from polyglossa.corpus import run as stage
from polyglossa.recipe.corpus import CorpusConfig
from polyglossa.recipe.placement import StagePlacement
from polyglossa.records import DOCUMENT, PAIR, REJECT

CONFIG = CorpusConfig.model_validate({"sources": [{"kind": "pydoc"}]})


def make(root: Path) -> Path:
    key = ArtifactKey(stage.STAGE, "corpus", stage.REVISION, CONFIG.model_dump(mode="json"))
    return Path(produce(str(root), key, lambda draft: stage.run(CONFIG, {}, draft, StagePlacement())).uri)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, ray_local: None) -> tuple[Path, Path]:
    return make(tmp_path_factory.mktemp("one")), make(tmp_path_factory.mktemp("two"))


def test_two_runs_write_the_same_bytes(built: tuple[Path, Path]) -> None:
    digests = [
        {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.name != "manifest.json"
        }
        for root in built
    ]
    assert digests[0] == digests[1]
    assert "heldout/pydoc/queries.parquet" in digests[0]


def test_the_artifact_holds_the_agreed_tables_and_reconciles(built: tuple[Path, Path]) -> None:
    root = built[0]
    pairs = pq.read_table(root / "pairs" / "pydoc")
    rejects = pq.read_table(root / "rejects")
    documents = pq.read_table(root / "documents")
    assert (pairs.schema, documents.schema, rejects.schema) == (PAIR, DOCUMENT, REJECT)
    artifact = open_artifact(str(root))
    assert artifact.counts["rows_in"] == artifact.counts["rows_out"] + sum(artifact.counts["rejects"].values())
    assert artifact.counts["rows_out"] == pairs.num_rows
    assert sum(artifact.counts["rejects"].values()) == rejects.num_rows
    described = artifact.read_json("sources.json")["pydoc"]
    assert (described["task"], described["symmetric"]) == ("retrieval", False)
    assert sum(described["rows"].values()) == pairs.num_rows


def test_every_heldout_query_finds_its_answer_in_the_heldout_corpus_and_not_in_training(
    built: tuple[Path, Path],
) -> None:
    root = built[0]
    queries = pq.read_table(root / "heldout" / "pydoc" / "queries.parquet").to_pylist()
    corpus = set(pq.read_table(root / "heldout" / "pydoc" / "corpus.parquet")["doc_id"].to_pylist())
    documents = {doc_id.hex() for doc_id in pq.read_table(root / "documents")["doc_id"].to_pylist()}
    assert len(queries) > 100
    assert {doc_id for query in queries for doc_id in query["positive_doc_ids"]} == corpus
    assert corpus.isdisjoint(documents)
    assert open_artifact(str(root)).read_json("heldout", "pydoc", "task.json") == {
        "name": "pydoc",
        "task_type": "retrieval",
        "instruction": "Given a description of a function, retrieve the Python code of that function.",
        "metric": "ndcg_at_10",
    }
