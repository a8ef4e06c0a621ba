"""Held-out evaluation sets of a corpus artifact, as tables. No mteb here: the driver reads these to plan the work.

A set is `heldout/<name>/`: `queries.parquet` (query_id, query, language, positive_doc_ids, same_as_english …),
`corpus.parquet` (doc_id, text; every language searches the same one) and `task.json`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, exists, open_storage
from polyglossa.errors import DataError
from polyglossa.model.instructions import render

METRICS = {"accuracy": "hit_rate_at_1", "ndcg_at_10": "ndcg_at_10"}
"""Metric of `task.json` → the name mteb gives it."""


@dataclass(frozen=True)
class HeldoutSet:
    """Queries in some languages, one corpus, and how to judge the search."""

    name: str
    task_type: str
    instruction: str
    metric: str
    revision: str
    queries: pa.Table
    corpus: pa.Table

    @cached_property
    def languages(self) -> list[str]:
        """Languages of the queries, sorted."""
        return sorted(pc.unique(self.queries["language"]).to_pylist())

    @cached_property
    def scripts(self) -> dict[str, str]:
        """Script (ISO 15924) of every language that states one."""
        if "script" not in self.queries.column_names:
            return {}
        pairs = zip(self.queries["language"].to_pylist(), self.queries["script"].to_pylist(), strict=True)
        return {language: script for language, script in pairs if script}

    @property
    def marks_english(self) -> bool:
        """Whether queries say if they equal their English name."""
        return "same_as_english" in self.queries.column_names

    @cached_property
    def same_as_english(self) -> frozenset[str]:
        """Ids of the queries whose text equals their English name."""
        if not self.marks_english:
            return frozenset()
        same = pc.fill_null(self.queries["same_as_english"], False)
        return frozenset(self.queries["query_id"].filter(same).to_pylist())

    def restricted_to(self, languages: Sequence[str]) -> "HeldoutSet":
        """The same set with the queries of some languages only."""
        kept = self.queries.filter(pc.is_in(self.queries["language"], pa.array(list(languages), pa.string())))
        return HeldoutSet(self.name, self.task_type, self.instruction, self.metric, self.revision, kept, self.corpus)

    def texts(self, *, instructed: bool) -> list[str]:
        """Every text that judging this set embeds, as the encoder reads it: queries instructed, documents bare.

        Args:
            instructed: whether the model reads instructions; if not, its queries stay bare too.
        """
        instruction = self.instruction if instructed else None
        queries = (render(text, instruction) for text in self.queries["query"].to_pylist())
        # mteb strips the documents of a corpus and leaves queries as they are.
        documents = (text.strip() for text in self.corpus["text"].to_pylist())
        return [*queries, *documents]


def read_heldout(corpus: Artifact, name: str) -> HeldoutSet:
    """Read one held-out set.

    Args:
        corpus: the corpus artifact.
        name: the set, a folder under `heldout/`.

    Raises:
        DataError: the corpus has no such set, or it is empty or names an unknown metric.
    """
    folder = corpus.at("heldout", name)
    if not exists(f"{folder}/task.json"):
        raise DataError(f"evaluate.heldout: the corpus holds no evaluation set {name!r} ({folder}/task.json).")
    task = corpus.read_json("heldout", name, "task.json")
    if task["metric"] not in METRICS:
        raise DataError(f"{folder}/task.json: metric {task['metric']!r} is not one of {', '.join(METRICS)}.")
    queries, documents = (_read(f"{folder}/{part}.parquet") for part in ("queries", "corpus"))
    if not len(queries) or not len(documents):
        raise DataError(f"{folder}: {len(queries)} queries and {len(documents)} documents; a set needs both.")
    return HeldoutSet(name, task["task_type"], task["instruction"], task["metric"], corpus.hash, queries, documents)


def _read(uri: str) -> pa.Table:
    filesystem, path = open_storage(uri)
    return pq.read_table(path, filesystem=filesystem)
