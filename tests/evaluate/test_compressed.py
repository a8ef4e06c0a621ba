"""Compressed vectors are scored as whoever compresses sentence-transformers' vectors would, and retention is said."""

import json
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mteb.models import SentenceTransformerEncoderWrapper
from rich.console import Console
from sentence_transformers import SentenceTransformer

from evaluate.test_local import beir, bitext, labelled, scored, share_of
from polyglossa.artifact import Artifact, Draft
from polyglossa.evaluate.evaluation import Call, evaluate
from polyglossa.evaluate.models.compressed import BINARY, BINARY_RESCORED, FORMS, INT8, compress, rescore
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.plan import PlannedTask, Share
from polyglossa.evaluate.result_keys import task_key
from polyglossa.evaluate.scoring.retention import mean_retention, retention_lines
from polyglossa.evaluate.scoring.task_result import TaskResult, join
from polyglossa.evaluate.standalone import summary_table
from polyglossa.evaluate.tasks.from_files import build_local
from polyglossa.evaluate.tasks.heldout import read_heldout
from polyglossa.evaluate.tasks.prompts import prompts_for
from polyglossa.evaluate.worker import Worker
from polyglossa.recipe.sections.evaluate import EvaluateConfig, LocalTask


@pytest.fixture(scope="module")
def worker(model: Artifact) -> Worker:
    return Worker(ModelSpec("polyglossa/tiny", model.hash, model.at("model")), threads=1, root=None)


class _Compressing(SentenceTransformerEncoderWrapper):
    """mteb's own wrapper of sentence-transformers, whose vectors are then rounded."""

    form = BINARY

    def encode(self, *arguments: Any, **options: Any) -> Any:
        vector_NW = np.asarray(super().encode(*arguments, **options))
        if self.form == BINARY:
            return np.where(vector_NW > 0, 1.0, -1.0).astype(np.float32)
        return np.rint(vector_NW / np.abs(vector_NW).max(axis=1, keepdims=True) * 127).astype(np.float32)


def stock(model: Artifact, task: LocalTask, form: str, width: int) -> dict[str, float]:
    independent = SentenceTransformer(model.at("model"), device="cpu", truncate_dim=width)
    independent.prompts = {}
    wrapped = _Compressing(independent, model_prompts=prompts_for({}, {}, instructed=True, search=True))
    wrapped.form = form
    made = build_local(task, list(share_of(task).subsets))
    ran = mteb.evaluate(wrapped, made, cache=None, co2_tracker=False, show_progress_bar=False)
    return {row["hf_subset"]: row["main_score"] for row in ran.task_results[0].scores["test"]}


@pytest.mark.parametrize("make", [beir, labelled, bitext, scored])
def test_every_kind_of_task_scores_as_mteb_alone_over_rounded_vectors(
    make: Any, worker: Worker, model: Artifact, tmp_path: Path
) -> None:
    task = make(tmp_path / "data")
    prompts = prompts_for({}, {task.name: None}, instructed=True, search=task.kind == "retrieval")
    found = worker.evaluate_share(share_of(task), prompts, (16,), compressed=True)
    assert found.reason is None
    searched = {BINARY_RESCORED} if task.kind == "retrieval" else set()
    assert set(found.compressed) == {INT8, BINARY} | searched
    for form in (INT8, BINARY):
        assert set(found.compressed[form]) == {16, 32}
        for width, scores in found.compressed[form].items():
            assert scores == pytest.approx(stock(model, task, form, width), abs=1e-5), (form, width)
    assert not worker.evaluate_share(share_of(task), prompts, (16,)).compressed


def test_held_out_sets_have_every_form_at_every_width(worker: Worker, corpus: Artifact) -> None:
    heldout = read_heldout(corpus, "cldr")
    share = Share(heldout.name, len(heldout.queries), heldout, None, tuple(heldout.languages))
    found = worker.evaluate_share(share, {}, worker.facts().widths, compressed=True)
    assert set(found.compressed) == set(FORMS)
    for widths in found.compressed.values():
        assert set(widths) == {*worker.facts().widths, 32}
        assert all(set(scores) == set(heldout.languages) for scores in widths.values())
    again = TaskResult.of(found.plain())
    assert (again.compressed, join([found]).compressed) == (found.compressed, found.compressed)


@given(st.integers(0, 10_000), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_scoring_again_ranks_what_bits_have_found_by_the_float_query_and_leaves_the_rest_behind(
    seed: int, documents: int
) -> None:
    chance = np.random.default_rng(seed)
    query_QW, document_DW = (chance.normal(size=(count, 16)).astype(np.float32) for count in (3, 20))
    bits_DW = compress(document_DW, BINARY)
    score_QD = rescore(torch.from_numpy(query_QW), torch.from_numpy(bits_DW), documents).numpy()
    by_bits_QD = np.where(query_QW > 0, 1, -1) @ bits_DW.T
    for query, scores, near in zip(query_QW, score_QD, by_bits_QD, strict=True):
        found = near >= np.sort(near)[-documents]
        expected = bits_DW[found] @ query / (np.linalg.norm(query) * 4)
        assert scores[found] == pytest.approx(expected, abs=1e-5)
        assert not (~found).any() or scores[~found].max() < scores[found].min()
        assert np.all(np.diff(near[~found][np.argsort(scores[~found], kind="stable")]) >= 0)


def test_retention_is_the_share_of_the_full_float_score_averaged_over_tasks() -> None:
    tasks = {
        "a": {"widths": {"8": 0.4, "16": 0.8}, "compressed": {"int8": {"8": 0.3, "16": 0.8}, "binary": {"16": 0.6}}},
        "b": {"widths": {"16": 0.5}, "compressed": {"int8": {"16": 0.4}}},
        "c": {"widths": {"16": 0.5}},
    }
    found = mean_retention(tasks, 16)
    assert found == {
        "float32": {"8": 0.5, "16": 1.0},
        "int8": {"8": pytest.approx(0.375), "16": pytest.approx(0.9)},
        "binary": {"16": pytest.approx(0.75)},
    }
    assert retention_lines({"retention": found})[-2:] == ["| 16 | 100.0% | 90.0% | 75.0% |", "| 8 | 50.0% | 37.5% |  |"]
    assert mean_retention({"c": tasks["c"]}, 16) == {}
    assert retention_lines({}) == []


def test_a_verdict_without_compressed_vectors_is_not_taken_for_one_with_them() -> None:
    task, keys = PlannedTask("a"), []
    for config in (EvaluateConfig(), EvaluateConfig(compressed=True)):
        keys.append(task_key(task, config, {}, (8,)))
    assert keys[0] != keys[1]
    assert "compressed" not in EvaluateConfig().model_dump(mode="json")


class _OneWorker:
    """A pool of one worker in this process."""

    workers = 1

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def first(self, method: str, *arguments: Any) -> Any:
        return getattr(self._worker, method)(*arguments)

    def each(self, calls: Sequence[Call]) -> Iterator[tuple[int, Any]]:
        for index, (method, *arguments) in enumerate(calls):
            yield index, self.first(method, *arguments)

    def share(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize("compressed", [False, True])
def test_an_evaluation_says_what_compressed_vectors_keep_where_it_was_asked_to(
    worker: Worker, model: Artifact, corpus: Artifact, tmp_path: Path, compressed: bool
) -> None:
    config = EvaluateConfig(heldout=("cldr",), local=(scored(tmp_path / "data"),), compressed=compressed, resamples=100)
    draft = Draft(str(tmp_path / "evaluation"))
    spec = ModelSpec("polyglossa/tiny", model.hash, model.at("model"))
    evaluate(_OneWorker(worker), spec, config, corpus, draft, None)
    summary = json.loads(Path(draft.at("summary.json")).read_text())
    card = Path(draft.at("README.md")).read_text()
    assert ("retention" in summary) == ("| width | float32 | int8 | binary |" in card) == compressed
    if compressed:
        kept = summary["retention"]
        assert set(kept) == {"float32", *FORMS}
        assert all(set(widths) == {"8", "16", "32"} for widths in kept.values())
        assert kept["float32"]["32"] == 1.0
        assert set(summary["tasks"]["sts"]["compressed"]) == {INT8, BINARY}
        console = Console(width=200, file=StringIO())
        console.print(summary_table(summary))
        assert "score kept at width 32: float32 100.0%, int8" in console.file.getvalue()  # type: ignore[attr-defined]
    else:
        assert all("compressed" not in task for task in summary["tasks"].values())
