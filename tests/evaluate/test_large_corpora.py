"""Protects corpora larger than memory: texts lie in a file, states in the store, and scores are those of small ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evaluate.test_local import beir, judge
from polyglossa.artifact import Artifact
from polyglossa.evaluate import worker as worker_module
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.models.states import StateTable
from polyglossa.evaluate.tasks.file_lists import files_of, read_documents
from polyglossa.evaluate.worker import Worker
from polyglossa.readers import tables


def open_worker(model: Artifact) -> Worker:
    return Worker(ModelSpec("polyglossa/tiny", model.hash, model.at("model")), threads=1, root=None)


def test_scores_are_the_same_where_nothing_stays_in_memory(
    model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = beir(tmp_path / "beir")
    whole = judge(open_worker(model), task, (8,))
    monkeypatch.setattr(worker_module, "KEPT_BYTES", 0)
    monkeypatch.setattr(tables, "MEMORY_BYTES", 0)
    pieces = judge(open_worker(model), task, (8,))
    assert pieces.reason is None
    assert pieces.result is not None
    assert whole.result is not None
    assert pieces.result["scores"] == whole.result["scores"]
    assert pieces.widths == whole.widths
    assert pieces.embedded == whole.embedded, "a text was embedded again instead of read again"


def test_a_table_lets_go_of_what_is_more_than_it_may_keep() -> None:
    asked: list[int] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.append(len(texts))
        return np.array([[float(text), 1.0] for text in texts], np.float32)

    states = StateTable(embed, most_bytes=200)
    for start in range(0, 100, 10):
        texts = [f"{number:02}" for number in range(start, start + 10)]
        assert states(texts)[:, 0].tolist() == [float(text) for text in texts]
        assert states.held_bytes <= 200
    assert states(["99", "00"])[:, 0].tolist() == [99.0, 0.0]
    assert sum(asked) < 110, "what fits is not asked for again"


def test_documents_beyond_memory_are_mapped_from_a_file_that_nobody_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = beir(tmp_path / "beir")
    plain = read_documents(task, files_of(task)[1]).table
    monkeypatch.setattr(tables, "MEMORY_BYTES", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = pa.total_allocated_bytes()
    mapped = read_documents(task, files_of(task)[1]).table
    assert pa.total_allocated_bytes() == before
    assert mapped.equals(plain)
    assert not list(tmp_path.glob("polyglossa-table-*"))
