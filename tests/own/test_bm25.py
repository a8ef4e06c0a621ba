"""Protects the BM25 baseline: words of the task's language, labels by neighbours, the same queries as every model."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.artifact import Draft, read_json
from polyglossa.evaluate.bm25 import run
from polyglossa.evaluate.scoring.bm25 import ranked
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import ClassificationTask, RetrievalTask, StsTask
from polyglossa.recipe.sections.own import Bm25Config


def test_words_are_stemmed_by_language_and_scripts_without_spaces_are_cut_by_character() -> None:
    english, _ = ranked(["a house on a hill", "running dogs bark", "the sea"], ["the dog ran and is running"], "eng", 2)
    assert english[0, 0] == 1
    chinese, scores = ranked(["苹果是水果", "汽车很快", "大海很蓝"], ["水果苹果"], "zho", 2)
    assert (chinese[0, 0], scores[0, 0] > 0) == (0, True)


def test_searches_and_labels_are_judged_and_scored_pairs_are_passed_over(tmp_path: Path) -> None:
    words = ["kettle", "lamp", "fridge", "oven", "radio", "camera"]
    put(tmp_path / "faq/corpus.parquet", id=words, text=[f"the {word} stands on the table" for word in words])
    put(tmp_path / "faq/queries.parquet", id=["q0", "q1"], text=["where is my lamp", "what of zebras"])
    judged = pa.table({"query-id": ["q0", "q1"], "corpus-id": ["lamp", "oven"], "score": [1, 1]})
    pq.write_table(judged, tmp_path / "faq/qrels.parquet")
    texts = [f"{word} {place}" for word in words[:2] for place in range(20)]
    labels = [word for word in words[:2] for _ in range(20)]
    put(tmp_path / "train.parquet", text=texts, label=labels)
    put(tmp_path / "test.parquet", text=["my kettle", "this lamp", "that lamp"], label=["kettle", "lamp", "kettle"])
    config = Bm25Config(
        local=(
            RetrievalTask(kind="retrieval", name="faq", path="faq", language="eng"),
            ClassificationTask(kind="classification", name="topics", path="test.parquet", train="train.parquet"),
            StsTask(kind="sts", name="alike", path="pairs.parquet"),
        ),
        data=str(tmp_path),
    )
    draft = Draft(str(tmp_path / "artifact"))
    run(config, {}, draft, StagePlacement())
    tasks = read_json(draft.at("summary.json"))["tasks"]
    assert {name: round(one["mean"], 4) for name, one in tasks.items()} == {"faq": 0.5, "topics": 0.6667}


def put(path: Path, **columns: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
