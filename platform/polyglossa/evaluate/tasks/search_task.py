"""A held-out set as an mteb retrieval task: one subset per language, offline, scored by mteb's own evaluator."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from polyglossa.evaluate.scoring.summary import DISTINCT, SPLIT
from polyglossa.evaluate.tasks.heldout import METRICS, HeldoutSet


class SearchTask(AbsTaskRetrieval):
    """Find each query's documents in the one corpus of the set."""

    data_loaded: bool = False

    def __init__(self, heldout: HeldoutSet) -> None:
        self.heldout = heldout
        # Cut-offs cost: mteb judged a subset of 130 queries in 22 ms with two of them and in 12 ms with one.
        self.k_values = (1,) if heldout.metric == "accuracy" else (1, 10)
        super().__init__()

    @cached_property
    def metadata(self) -> TaskMetadata:
        """What mteb records of the task; mteb may drop it from the instance and ask again."""
        heldout = self.heldout
        return TaskMetadata(
            name=heldout.name,
            description=f"Held-out part of the source {heldout.name!r}: {heldout.instruction}",
            dataset={"path": f"heldout/{heldout.name}", "revision": heldout.revision},
            prompt={"query": heldout.instruction},
            type="Retrieval",
            category="t2t",
            eval_splits=[SPLIT],
            eval_langs={language: [_bcp47(language, heldout.scripts)] for language in heldout.languages},
            main_score=METRICS[heldout.metric],
        )

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Build mteb's tables from the set; all subsets share one corpus."""
        if self.data_loaded:
            return
        corpus = Dataset(pa.table({"id": self.heldout.corpus["doc_id"], "text": self.heldout.corpus["text"]}))
        self.dataset = {
            language: {SPLIT: self._subset(self.heldout.restricted_to([language]).queries, corpus)}
            for language in self.heldout.languages
        }
        self.data_loaded = True

    def _subset(self, queries: pa.Table, corpus: Dataset) -> dict[str, Any]:
        ids = queries["query_id"].to_pylist()
        positives = queries["positive_doc_ids"].to_pylist()
        return {
            "queries": Dataset(pa.table({"id": queries["query_id"], "text": queries["query"]})),
            "corpus": corpus,
            "relevant_docs": {
                query: dict.fromkeys(documents, 1) for query, documents in zip(ids, positives, strict=True)
            },
            "top_ranked": None,
        }

    def task_specific_scores(
        self,
        scores: dict[str, dict[str, float]],
        qrels: dict[str, dict[str, int]],
        results: dict[str, dict[str, float]],
        hf_split: str,
        hf_subset: str,
    ) -> dict[str, float]:
        """Add the mean over the queries whose text differs from their English name."""
        same = self.heldout.same_as_english
        hits = [found["success_1"] for query, found in scores.items() if query not in same]
        return {DISTINCT: round(float(np.mean(hits)), 5)} if self.heldout.marks_english and hits else {}


def _bcp47(language: str, scripts: Mapping[str, str]) -> str:
    """The language as mteb writes it: ISO 639-3 and script, or `Code` for a programming language."""
    return f"{language.partition('_')[0]}-{scripts.get(language, 'Code')}"
