"""A trial's score: held-out retrieval, with its bootstrap interval. Never the loss, which does not predict it.

The mean over sets of the mean over languages (of a task from files: over subsets) of hit rate at 1 or nDCG@10, as the
evaluation stage sums it up. Documents fall by hash into those that the search judges by and those that it never sees; a
query goes with its document.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polyglossa.artifact import Artifact
from polyglossa.evaluate.plan import place_paths
from polyglossa.evaluate.scoring.retrieval import query_scores, read_search
from polyglossa.evaluate.scoring.statistics import Samples, distribution, mean_interval
from polyglossa.evaluate.tasks.heldout import HeldoutSet, read_heldout
from polyglossa.model.encoder import Encoder
from polyglossa.recipe import Recipe
from polyglossa.recipe.sections.evaluate import LocalTask, RetrievalTask
from polyglossa.recipe.sections.tune import JudgeConfig
from polyglossa.recipe.trial import judged_sets
from polyglossa.storage import absolute

SEARCH, UNSEEN = "search", "unseen"

Scores = dict[str, dict[str, list[float]]]
"""Set → language → score of each query, in a fixed order."""


@dataclass(frozen=True)
class Score:
    """A mean over sets with its 95 % interval."""

    mean: float
    low: float
    high: float
    by_set: Mapping[str, float]


class Scorer:
    """Held-out sets in memory, to score models by."""

    def __init__(self, corpus: Artifact, sets: Mapping[str, RetrievalTask | None], config: JudgeConfig) -> None:
        """Read the sets.

        Args:
            corpus: the corpus artifact.
            sets: held-out sets of the corpus by name, and tasks from files, their paths absolute.
            config: how they are used.
        """
        self.sets = {
            name: [read_heldout(corpus, name)] if task is None else _subsets(task) for name, task in sets.items()
        }
        self._share, self._queries, self._resamples = config.search_share, config.queries, config.resamples

    def scores(self, encoder: Encoder, *, instructed: bool, part: str | None) -> Scores:
        """Score every query of a part (`search`, `unseen`, None for all) by a model."""
        found = {name: self._score_set(parts, encoder, instructed, part) for name, parts in self.sets.items()}
        return {name: languages for name, languages in found.items() if languages}

    def summary(self, scores: Scores) -> Score:
        """Sum scores up."""
        samples = samples_of(scores)
        by_set = {name: float(np.mean([one.statistic() for one in found.values()])) for name, found in samples.items()}
        low, high = mean_interval(samples, resamples=self._resamples, seed=0)
        return Score(float(np.mean(list(by_set.values()))), low, high, by_set)

    def _score_set(
        self, subsets: Sequence[HeldoutSet], encoder: Encoder, instructed: bool, part: str | None
    ) -> dict[str, list[float]]:
        by_language: dict[str, list[float]] = {}
        for one in subsets:
            chosen = self._chosen(one, part, most=self._queries and max(1, self._queries // len(subsets)))
            if len(chosen.queries):
                scores = query_scores(chosen, encoder, instructed=instructed).tolist()
                for language, score in zip(chosen.queries["language"].to_pylist(), scores, strict=True):
                    by_language.setdefault(language, []).append(score)
        return by_language

    def _chosen(self, one: HeldoutSet, part: str | None, most: int | None) -> HeldoutSet:
        """Take the queries of a part, evenly spread over it where there are more than `most`."""
        wanted = {None: (True, False), SEARCH: (True,), UNSEEN: (False,)}[part]
        answers = one.queries["positive_doc_ids"].to_pylist()
        row_N = np.flatnonzero([is_searched(documents[0], self._share) in wanted for documents in answers])
        spread = np.linspace(0, len(row_N) - 1, min(len(row_N), most or len(row_N))).round().astype(int)
        return replace(one, queries=one.queries.take(row_N[spread]))


def placed_sets(recipe: Recipe) -> dict[str, RetrievalTask | None]:
    """Name what the trials of a recipe are judged by, as `Judge` takes it."""
    sets = judged_sets(recipe)
    return {name: task and _absolute(place_paths(task, recipe.evaluate.data)) for name, task in sets.items()}


def _absolute(task: LocalTask) -> RetrievalTask:
    assert isinstance(task, RetrievalTask)
    return RetrievalTask.model_validate({**task.model_dump(), "path": absolute(task.path)})


def _subsets(task: RetrievalTask) -> list[HeldoutSet]:
    """Read a task from files; a subset counts as a language."""
    found = []
    for one in read_search(task):
        columns = {name: one.queries[name] for name in ("query_id", "query", "positive_doc_ids")}
        subset = pa.array([one.name.removeprefix(f"{task.name}/")] * len(one.queries), pa.string())
        found.append(replace(one, queries=pa.table({**columns, "language": subset})))
    return found


def is_searched(document: str, share: float) -> bool:
    """Tell by its hash whether a document is one that the search judges by."""
    digest = hashlib.blake2b(document.encode(), digest_size=8, person=b"tune").digest()
    return int.from_bytes(digest) < share * 2**64


def samples_of(scores: Scores) -> dict[str, dict[str, Samples]]:
    """Say scores in the terms of `evaluate.statistics`."""
    return {
        name: {language: Samples(found) for language, found in languages.items()} for name, languages in scores.items()
    }


def mean_difference(first: Sequence[Scores], second: Sequence[Scores], *, resamples: int) -> tuple[float, float, float]:
    """Compare two recipes over seeds: mean difference of their scores, with its 95 % interval.

    Queries are resampled, the same for both and for every seed; the spread over seeds is told apart from it.

    Args:
        first: scores of the one recipe, by seed.
        second: of the other, by the same seeds.
        resamples: how many.
    """
    drawn_R = np.mean(
        [_bootstrap(a, resamples) - _bootstrap(b, resamples) for a, b in zip(first, second, strict=True)], axis=0
    )
    observed = np.mean([_mean(a) - _mean(b) for a, b in zip(first, second, strict=True)])
    low, high = np.quantile(drawn_R, [0.025, 0.975])
    return float(observed), float(low), float(high)


def _bootstrap(scores: Scores, resamples: int) -> npt.NDArray[np.float64]:
    parts = [distribution(samples, resamples=resamples, seed=0) for samples in samples_of(scores).values()]
    return np.asarray(np.mean(parts, axis=0), np.float64)


def _mean(scores: Scores) -> float:
    return float(np.mean([np.mean([np.mean(one) for one in found.values()]) for found in scores.values()]))
