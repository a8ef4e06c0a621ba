"""Protects evaluation from its own files: ids are text, judgements that cannot count are refused or said."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.artifact import Artifact
from polyglossa.errors import DataError
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.plan import Share, plan_local
from polyglossa.evaluate.scoring.retrieval import read_search
from polyglossa.evaluate.tasks.file_lists import rows_by_subset, survey_local
from polyglossa.evaluate.tasks.from_files import build_local
from polyglossa.evaluate.worker import Worker
from polyglossa.recipe.sections.evaluate import ClassificationTask, EvaluateConfig, RetrievalTask, StsTask

HEADER = ["query-id", "corpus-id", "score"]
Judgements = list[tuple[Any, ...]]


def beir(
    folder: Path, ids: list[Any], judgements: Judgements | None = None, documents: list[dict[str, Any]] | None = None
) -> RetrievalTask:
    """A search of 30 texts, whose documents and queries have the given ids."""
    folder.mkdir(parents=True)
    texts = [f"a text about thing {number} of {number * 7 % 11}" for number in range(len(ids))]
    own = documents or [{"_id": name, "title": "", "text": text} for name, text in zip(ids, texts, strict=True)]
    queries = [{"_id": f"q{name}", "text": text[5:]} for name, text in zip(ids, texts, strict=True)]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, own)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels").mkdir()
    lines = [HEADER, *(judgements or [(f"q{name}", name, 1) for name in ids])]
    (folder / "qrels" / "test.tsv").write_text("\n".join("\t".join(map(str, line)) for line in lines))
    return RetrievalTask(kind="retrieval", name=folder.name, path=str(folder), language="eng")


@pytest.fixture(scope="module")
def worker(model: Artifact) -> Worker:
    return Worker(ModelSpec("polyglossa/tiny", model.hash, model.at("model")), threads=1, root=None)


def score(worker: Worker, task: RetrievalTask) -> float:
    sizes = rows_by_subset(task)
    task_result = worker.evaluate_share(Share(task.name, sum(sizes.values()), None, task, tuple(sizes)), {}, ())
    assert task_result.reason is None
    return float(task_result.result["scores"]["test"][0]["main_score"])


@pytest.mark.parametrize(
    "ids",
    [
        [f"{number:06}" for number in range(30)],
        [f"0{number}" for number in range(15)] + [str(number) for number in range(15)],
        [number if number % 2 else str(number) for number in range(30)],
        [f"{number}.0" for number in range(30)],
        [2**60 + number for number in range(30)],
        ["nan", "null", "true", "1e3", *map(str, range(26))],
    ],
    ids=["zeros", "twins", "mixed", "points", "large", "words"],
)
def test_ids_are_text_whatever_they_look_like(worker: Worker, tmp_path: Path, ids: list[Any]) -> None:
    named = [f"d{number}" for number in range(30)]
    assert score(worker, beir(tmp_path / "ids", ids)) == score(worker, beir(tmp_path / "named", named)) > 0


def test_relevance_that_is_no_whole_number_is_refused(tmp_path: Path) -> None:
    ids = [f"d{number}" for number in range(30)]
    task = beir(tmp_path / "set", ids, [(f"q{name}", name, 0.5) for name in ids])
    with pytest.raises(DataError, match=r"30 of 30 relevances are no whole numbers \(such as 0.5\)"):
        survey_local(task)
    whole = beir(tmp_path / "whole", ids, [(f"q{name}", name, "2.0") for name in ids])
    assert not survey_local(whole).notices


@pytest.mark.parametrize("what", ["document", "query"])
def test_judgements_of_what_is_not_there_are_said_beside_the_score_and_stop_above_a_share(
    tmp_path: Path, what: str
) -> None:
    ids = [f"d{number}" for number in range(30)]
    lost = ("qd0", "gone", 1) if what == "document" else ("gone", "d0", 1)
    task = beir(tmp_path / "few", ids, [*((f"q{name}", name, 1) for name in ids), lost])
    (planned,) = plan_local(EvaluateConfig(local=(task,)), 1)
    assert planned.reason is None
    assert f"of 31 judgements 1 a {what} name that is not there" in planned.notices[0]
    many = beir(tmp_path / "many", ids, [*((f"q{name}", name, 1) for name in ids), *[(*lost[:2], 1)], *(
        (f"q{name}", f"x{name}", 1) for name in ids
    )])  # fmt: skip
    (refused,) = plan_local(EvaluateConfig(local=(many,)), 1)
    assert refused.reason is not None
    assert "ids written alike" in refused.reason
    assert read_search(task)


def test_documents_may_lack_titles_and_texts(worker: Worker, tmp_path: Path) -> None:
    ids = [f"d{number}" for number in range(30)]
    documents: list[dict[str, Any]] = [{"_id": name, "text": f"a text about thing {name}"} for name in ids]
    documents[3]["title"] = None
    documents[4]["title"] = "A title"
    documents[5] = {"_id": "d5", "title": "only a title", "text": None}
    task = beir(tmp_path / "set", ids, documents=documents)
    assert not survey_local(task).notices
    assert score(worker, task) > 0


def test_one_bad_line_is_said_and_many_refuse_the_task(tmp_path: Path) -> None:
    task = beir(tmp_path / "set", [f"d{number}" for number in range(40)])
    corpus = tmp_path / "set" / "corpus.jsonl"
    good = corpus.read_text()
    corpus.write_text(good + '\n{"_id": "broken')
    assert "1 of 41 rows cannot be read (invalid_json 1)" in survey_local(task).notices[0]
    corpus.write_text(good + '\n{"_id": "broken' * 9)
    with pytest.raises(DataError, match="9 of 49 rows cannot be read"):
        survey_local(task)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_labels_and_texts_of_digits_and_nulls_are_read(tmp_path: Path, suffix: str) -> None:
    rows = [{"text": str(1000 + number), "label": ["01", "1", "001"][number % 3]} for number in range(60)]
    path = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        path.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows) + ",01\n")
    else:
        path.write_text("\n".join(map(json.dumps, [*rows, {"text": None, "label": "01"}])))
    task = ClassificationTask(kind="classification", name="digits", path=str(path))
    assert "1 of 61 rows cannot be read (empty 1)" in survey_local(task).notices[0]
    made = build_local(task, ["default"])
    made.load_data()
    assert set(made.dataset["default"]["train"]["label"]) == {0, 1, 2}


def test_a_score_that_is_missing_costs_its_row(tmp_path: Path) -> None:
    table = {"sentence1": ["a"] * 20, "sentence2": ["b"] * 20, "score": [*([0.5] * 19), None]}
    pq.write_table(pa.table(table), tmp_path / "sts.parquet")
    task = StsTask(kind="sts", name="sts", path=str(tmp_path / "sts.parquet"))
    assert "empty 1" in survey_local(task).notices[0]
    made = build_local(task, ["default"])
    made.load_data()
    assert len(made.dataset["default"]["test"]) == 19
