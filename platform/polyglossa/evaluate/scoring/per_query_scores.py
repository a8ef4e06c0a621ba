"""Record the per-query scores behind a task's main score, which intervals and paired tests are computed from.

Searches give a score per query. Of other tasks mteb writes its predictions to a folder, and they are scored again here
sample by sample. Tasks whose score is no mean over samples (clustering, average precision …) give none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mteb.abstasks import AbsTaskBitextMining, AbsTaskClassification, AbsTaskRetrieval, AbsTaskSTS

from polyglossa.evaluate.scoring.statistics import Samples

_MEASURES = {
    "ndcg_at": "ndcg_cut",
    "map_at": "map_cut",
    "recall_at": "recall",
    "precision_at": "P",
    "hit_rate_at": "success",
}


class Recorder:
    """Stands between mteb and a task for the time of one evaluation."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.queries: dict[str, dict[str, float]] = {}
        if isinstance(task, AbsTaskRetrieval):
            self._inner = task.task_specific_scores
            task.task_specific_scores = self._record

    def _record(self, scores: Any, qrels: Any, results: Any, hf_split: str, hf_subset: str) -> Any:
        measure = measure_of(self.task.metadata.main_score)
        if measure is not None:
            self.queries[hf_subset] = {query: found[measure] for query, found in scores.items() if measure in found}
        return self._inner(scores, qrels, results, hf_split=hf_split, hf_subset=hf_subset)

    def samples(self, folder: Path, split: str) -> dict[str, Samples]:
        """Return the samples of every subset that was judged.

        Args:
            folder: where mteb wrote its predictions.
            split: the split that was judged.
        """
        if isinstance(self.task, AbsTaskRetrieval):
            return {
                subset: Samples([found[query] for query in sorted(found)])
                for subset, found in self.queries.items()
                if found
            }
        file = folder / self.task.prediction_file_name
        predictions = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        subsets = {name: found[split] for name, found in predictions.items() if split in found}
        scored = {name: _score(self.task, name, split, found) for name, found in subsets.items()}
        return {name: samples for name, samples in scored.items() if samples is not None}


def measure_of(main_score: str) -> str | None:
    """What the evaluator under mteb calls a main score of searches; None where it has no such measure per query."""
    if main_score == "accuracy":
        return "recall_1"
    head, _, cut = main_score.rpartition("_")
    return f"{_MEASURES[head]}_{cut}" if head in _MEASURES else None


def _score(task: Any, subset: str, split: str, predictions: Any) -> Samples | None:
    data = task.dataset.get(subset, task.dataset)  # a task of one subset may hold its splits alone
    metric = task.metadata.main_score
    if isinstance(task, AbsTaskSTS) and metric in ("cosine_spearman", "spearman"):
        kind = "cosine_scores" if metric == "cosine_spearman" else "similarity_scores"
        return Samples(list(predictions[kind]), [float(score) for score in data[split]["score"]])
    if isinstance(task, AbsTaskClassification) and metric == "accuracy":
        labels = np.asarray(data[split][task.label_column_name])
        return Samples((np.asarray(predictions) == labels).mean(axis=0).tolist())
    if isinstance(task, AbsTaskBitextMining) and metric in ("f1", "accuracy") and isinstance(predictions, Mapping):
        found = next(iter(predictions.values()))
        return Samples(_bitext([row["corpus_id"] for row in found], metric))
    return None


def _bitext(found: list[int], metric: str) -> list[float]:
    """Score sentence by sentence; every sentence is the only right answer of one, so the weighted F1 is their mean."""
    chosen = np.asarray(found)
    hit_N = chosen == np.arange(len(chosen))
    if metric == "accuracy":
        return hit_N.astype(float).tolist()
    times_N = np.bincount(chosen, minlength=len(chosen))[: len(chosen)]
    return (2 * hit_N / (1 + times_N)).tolist()
