"""Task types that come by mteb's names alone score as mteb alone scores them, to 1e-6: clustering, pairs, reranking."""

import math
import random
from collections.abc import Callable
from typing import Any

import mteb
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskClustering, AbsTaskPairClassification, AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer

from evaluate.test_local import words
from polyglossa.artifact import Artifact
from polyglossa.evaluate.models.protocol import MtebEncoder
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.models.states import StateTable
from polyglossa.evaluate.plan import Share
from polyglossa.evaluate.tasks.prompts import prompts_for
from polyglossa.evaluate.worker import Worker


def metadata(name: str, kind: Any, score: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        description=name,
        dataset={"path": name, "revision": "1"},
        type=kind,
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=score,
    )


class _Made:
    """Data is there from the start."""

    def load_data(self, num_proc: int | None = None, **_: Any) -> None:
        self.data_loaded = True


class Clustering(_Made, AbsTaskClustering):  # type: ignore[misc]  # mteb's own data loading is what is replaced
    metadata = metadata("ToyClustering", "Clustering", "v_measure")
    max_fraction_of_documents_to_embed = None

    def __init__(self) -> None:
        super().__init__()
        rows = {"sentences": words(80, 4), "labels": [f"kind {index % 4}" for index in range(80)]}
        self.dataset = DatasetDict({"test": Dataset.from_dict(rows)})


class Pairs(_Made, AbsTaskPairClassification):  # type: ignore[misc]
    metadata = metadata("ToyPairs", "PairClassification", "max_ap")

    def __init__(self) -> None:
        super().__init__()
        draw = random.Random(3)
        rows = {
            "sentence1": [words(50, 1)],
            "sentence2": [words(50, 2)],
            "labels": [[draw.randint(0, 1) for _ in range(50)]],
        }
        self.dataset = DatasetDict({"test": Dataset.from_dict({name: value[0] for name, value in rows.items()})})


class Reranking(_Made, AbsTaskRetrieval):  # type: ignore[misc]
    metadata = metadata("ToyReranking", "Reranking", "map_at_1000")

    def __init__(self) -> None:
        super().__init__()
        texts = words(60, 1)
        documents = [{"id": f"d{index}", "title": "", "text": text} for index, text in enumerate(texts)]
        queries = [{"id": f"q{index}", "text": texts[index][:6]} for index in range(20)]
        ranked = {f"q{index}": [f"d{(index + step) % 60}" for step in range(0, 30, 3)] for index in range(20)}
        self.dataset = {
            "default": {
                "test": {
                    "queries": Dataset.from_list(queries),
                    "corpus": Dataset.from_list(documents),
                    "relevant_docs": {f"q{index}": {f"d{index}": 1, f"d{(index + 3) % 60}": 1} for index in range(20)},
                    "top_ranked": ranked,
                }
            }
        }


@pytest.mark.parametrize("make", [Clustering, Pairs, Reranking])
def test_every_type_of_mteb_scores_as_mteb_alone(make: Callable[[], Any], model: Artifact) -> None:
    worker = Worker(ModelSpec("polyglossa/tiny", model.hash, model.at("model")), threads=1, root=None)
    prompts = prompts_for({}, {}, instructed=True, search=True)
    task = make()
    task.load_data()
    ours = worker._run_task(
        Share(task.metadata.name, 1, subsets=("default",)),
        task,
        MtebEncoder(StateTable(worker.embed), prompts, worker.meta),
    )
    independent = SentenceTransformer(model.at("model"), device="cpu")
    independent.prompts = {}
    wrapped = SentenceTransformerEncoderWrapper(independent, model_prompts=prompts)
    ran = mteb.evaluate(wrapped, make(), cache=None, co2_tracker=False, show_progress_bar=False)
    (mine,), (theirs,) = ours.result["scores"]["test"], ran.task_results[0].scores["test"]
    compared = 0
    for score, value in theirs.items():
        if isinstance(value, float) and not math.isnan(value) and mine[score] is not None:
            assert mine[score] == pytest.approx(value, abs=1e-6), score
            compared += 1
    assert compared >= 3
