"""Tasks from files score as mteb alone scores them with an independent encoder, for every kind of task, to 1e-6."""

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import mteb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mteb.models import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer

from polyglossa.artifact import Artifact
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.plan import Share
from polyglossa.evaluate.scoring.task_result import TaskResult
from polyglossa.evaluate.tasks.file_lists import rows_by_subset
from polyglossa.evaluate.tasks.from_files import build_local
from polyglossa.evaluate.tasks.prompts import prompts_for
from polyglossa.evaluate.worker import Worker
from polyglossa.recipe.sections.evaluate import BitextTask, ClassificationTask, LocalTask, RetrievalTask, StsTask

SYLLABLES = ["ka", "ro", "mi", "stan", "land", "né", "zü", "σα", "ди", "国"]


def words(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(SYLLABLES, k=3)) + f" {index}" for index in range(count)]


def beir(folder: Path) -> RetrievalTask:
    texts = words(30, 1)
    lines = [{"_id": f"d{index}", "title": "T" if index % 2 else "", "text": text} for index, text in enumerate(texts)]
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    queries = [{"_id": f"q{index}", "text": text[:5]} for index, text in enumerate(texts)]
    (folder / "queries.jsonl").write_text("\n".join(json.dumps(line) for line in queries))
    (folder / "qrels").mkdir()
    rows = [["query-id", "corpus-id", "score"], *([f"q{i}", f"d{(i + j) % 30}", 1] for i in range(25) for j in (0, 1))]
    with (folder / "qrels" / "test.tsv").open("w", newline="") as stream:
        csv.writer(stream, delimiter="\t").writerows(rows)
    return RetrievalTask(kind="retrieval", name="beir", path=str(folder), language="eng")


def labelled(folder: Path) -> ClassificationTask:
    folder.mkdir()
    for part, seed in (("train", 1), ("test", 2)):
        # Labels that show in the text: on noise, predictions lie on the boundary and flip with the last bit.
        texts = [f"{('ka', 'stan', '国')[index % 3] * 4} {text}" for index, text in enumerate(words(60, seed))]
        table = {"text": texts, "label": [f"kind {index % 3}" for index in range(60)]}
        pq.write_table(pa.table(table), folder / f"{part}.parquet")
    paths = {"path": str(folder / "test.parquet"), "train": str(folder / "train.parquet")}
    return ClassificationTask(kind="classification", name="labelled", experiments=3, **paths)


def bitext(folder: Path) -> BitextTask:
    folder.mkdir()
    rows = [
        {"index_id": index, "language": language, "script": script, "text": text}
        for language, script, seed in (("eng", "Latn", 1), ("deu", "Latn", 2), ("rus", "Cyrl", 1))
        for index, text in enumerate(words(25, seed))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "table.parquet")
    return BitextTask(kind="bitext", name="bitext", path=str(folder / "table.parquet"))


def scored(folder: Path) -> StsTask:
    folder.mkdir()
    # Pairs that share from none to all but one of their syllables: a correlation of texts that are all alike or all
    # unlike magnifies the last bit of their cosines, which differs from processor to processor.
    draw = random.Random(5)
    first = [draw.choices(SYLLABLES, k=8) for _ in range(40)]
    second = [[*one[: index % 8], *draw.choices(SYLLABLES, k=8 - index % 8)] for index, one in enumerate(first)]
    table = {
        "sentence1": ["".join(syllables) for syllables in first],
        "sentence2": ["".join(syllables) for syllables in second],
        "score": [index % 8 / 2 + draw.uniform(0, 1) for index in range(40)],
    }
    pq.write_table(pa.table(table), folder / "sts.parquet")
    return StsTask(kind="sts", name="sts", path=str(folder / "sts.parquet"))


@pytest.fixture(scope="module")
def worker(model: Artifact) -> Worker:
    return Worker(ModelSpec("polyglossa/tiny", model.hash, model.at("model")), threads=1, root=None)


def share_of(task: LocalTask) -> Share:
    sizes = rows_by_subset(task)
    return Share(task.name, sum(sizes.values()), None, task, tuple(sizes))


def judge(worker: Worker, task: LocalTask, widths: tuple[int, ...] = ()) -> TaskResult:
    prompts = prompts_for({}, {task.name: None}, instructed=True, search=task.kind == "retrieval")
    return worker.evaluate_share(share_of(task), prompts, widths)


def stock(model: Artifact, task: LocalTask, width: int | None = None) -> dict[str, dict[str, Any]]:
    independent = SentenceTransformer(model.at("model"), device="cpu", truncate_dim=width)
    independent.prompts = {}
    prompts = prompts_for({}, {}, instructed=True, search=True)
    wrapped = SentenceTransformerEncoderWrapper(independent, model_prompts=prompts)
    made = build_local(task, list(rows_by_subset(task)))
    # A narrower vector is normalised again, as the family's are; the export alone leaves that to who truncates.
    again = {"normalize_embeddings": True} if width else {}
    ran = mteb.evaluate(wrapped, made, cache=None, co2_tracker=False, show_progress_bar=False, encode_kwargs=again)
    return {row["hf_subset"]: row for row in ran.task_results[0].scores["test"]}


@pytest.mark.parametrize("make", [beir, labelled, bitext, scored])
def test_every_kind_of_task_scores_as_mteb_alone(make: Any, worker: Worker, model: Artifact, tmp_path: Path) -> None:
    task = make(tmp_path / "data")
    task_result = judge(worker, task, widths=(16,))
    assert task_result.reason is None
    theirs = stock(model, task)
    assert {row["hf_subset"] for row in task_result.result["scores"]["test"]} == set(theirs)
    for mine in task_result.result["scores"]["test"]:
        for score, value in theirs[mine["hf_subset"]].items():
            if isinstance(value, float) and not math.isnan(value) and mine[score] is not None:
                assert mine[score] == pytest.approx(value, abs=1e-6), score
    narrow = {name: row["main_score"] for name, row in stock(model, task, width=16).items()}
    assert task_result.widths[16] == pytest.approx(narrow, abs=1e-6)


@pytest.mark.parametrize("make", [beir, labelled, bitext, scored])
def test_samples_make_up_the_main_score(make: Any, worker: Worker, tmp_path: Path) -> None:
    task_result = judge(worker, make(tmp_path / "data"))
    for row in task_result.result["scores"]["test"]:
        assert task_result.samples[row["hf_subset"]].statistic() == pytest.approx(row["main_score"], abs=1e-5)


def test_an_empty_corpus_is_the_reason_of_its_task(worker: Worker, tmp_path: Path) -> None:
    task = beir(tmp_path / "data")
    pq.write_table(
        pa.table({"_id": pa.array([], pa.string()), "text": pa.array([], pa.string())}),
        tmp_path / "data" / "corpus.parquet",
    )
    task_result = judge(worker, task)
    assert task_result.reason is not None
    assert "0 documents" in task_result.reason


def test_vectors_that_are_not_finite_are_the_reason_of_their_task(model: Artifact, tmp_path: Path) -> None:
    broken = Worker(ModelSpec("polyglossa/tiny", model.hash, model.at("model")), threads=1, root=None)
    next(broken.source.encoder.backbone.parameters()).data[7:200] = math.nan
    task_result = judge(broken, scored(tmp_path / "data"))
    assert task_result.reason is not None
    assert "not finite" in task_result.reason


def test_a_model_of_another_pooling_scores_as_mteb_alone(model: Artifact, tmp_path: Path) -> None:
    from sentence_transformers import models

    inner = models.Transformer(model.at("model"), max_seq_length=160)
    pooled = SentenceTransformer(modules=[inner, models.Pooling(32, pooling_mode="mean")], device="cpu")
    pooled.save_pretrained(str(tmp_path / "mean"))
    judged = Worker(ModelSpec("else/mean", "1", str(tmp_path / "mean")), threads=1, root=None)
    task = labelled(tmp_path / "data")
    task_result = judged.evaluate_share(share_of(task), {}, ())
    made = build_local(task, ["default"])
    theirs = mteb.evaluate(pooled, made, cache=None, co2_tracker=False, show_progress_bar=False).task_results[0]
    [mine] = task_result.result["scores"]["test"]
    assert mine["main_score"] == pytest.approx(theirs.scores["test"][0]["main_score"], abs=1e-6)
