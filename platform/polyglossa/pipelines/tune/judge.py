"""A trial's score: held-out retrieval, with its bootstrap interval. Never the loss, which does not predict it.

The mean over sets of the mean over languages of hit rate at 1 or nDCG@10, as the evaluation stage sums it up. Documents
fall by hash into those that the search judges by and those that it never sees; a query goes with its document.

N = queries, M = documents, P = documents that answer one query.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polyglossa.artifact import Artifact
from polyglossa.evaluate.heldout import HeldoutSet, read_heldout
from polyglossa.evaluate.statistics import Samples, distribution, mean_interval
from polyglossa.model.encoder import Encoder, finish, render

SEARCH, UNSEEN = "search", "unseen"
_DEPTH = 10
_BLOCK_QUERIES = 4096

Scores = dict[str, dict[str, list[float]]]
"""Set → language → score of each query, in a fixed order."""


@dataclass(frozen=True)
class Score:
    """A mean over sets with its 95 % interval."""

    mean: float
    low: float
    high: float
    by_set: Mapping[str, float]


class Judge:
    """Held-out sets in memory, to score models by."""

    def __init__(self, corpus: Artifact, sets: Sequence[str], *, search_share: float, resamples: int) -> None:
        """Read the sets.

        Args:
            corpus: the corpus artifact.
            sets: their names.
            search_share: share of documents whose queries the search judges by.
            resamples: bootstrap resamples of an interval.
        """
        self.sets = {name: read_heldout(corpus, name) for name in sets}
        self._share, self._resamples = search_share, resamples

    def scores(self, encoder: Encoder, *, instructed: bool, part: str | None) -> Scores:
        """Score every query of a part (`search`, `unseen`, None for all) by a model."""
        found = {name: self._judged(one, encoder, instructed, part) for name, one in self.sets.items()}
        return {name: languages for name, languages in found.items() if languages}

    def summary(self, scores: Scores) -> Score:
        """Sum scores up."""
        samples = samples_of(scores)
        by_set = {name: float(np.mean([one.statistic() for one in found.values()])) for name, found in samples.items()}
        low, high = mean_interval(samples, resamples=self._resamples, seed=0)
        return Score(float(np.mean(list(by_set.values()))), low, high, by_set)

    def _judged(self, one: HeldoutSet, encoder: Encoder, instructed: bool, part: str | None) -> dict[str, list[float]]:
        rows = self._rows(one, part)
        queries = one.queries.take(rows)
        instruction = one.instruction if instructed else None
        texts = [render(text, instruction) for text in queries["query"].to_pylist()]
        documents = [text.strip() for text in one.corpus["text"].to_pylist()]
        query_ND, document_MD = (finish(encoder.embed(part)) for part in (texts, documents))
        place = {document: index for index, document in enumerate(one.corpus["doc_id"].to_pylist())}
        positives = [[place[document] for document in row] for row in queries["positive_doc_ids"].to_pylist()]
        measure = hit_rate_at_1 if one.metric == "accuracy" else ndcg_at_10
        score_N = measure(query_ND, document_MD, positives)
        by_language: dict[str, list[float]] = {}
        for language, score in zip(queries["language"].to_pylist(), score_N.tolist(), strict=True):
            by_language.setdefault(language, []).append(score)
        return by_language

    def _rows(self, one: HeldoutSet, part: str | None) -> list[int]:
        wanted = {None: (True, False), SEARCH: (True,), UNSEEN: (False,)}[part]
        answers = one.queries["positive_doc_ids"].to_pylist()
        return [row for row, documents in enumerate(answers) if is_searched(documents[0], self._share) in wanted]


def is_searched(document: str, share: float) -> bool:
    """Tell by its hash whether a document is one that the search judges by."""
    digest = hashlib.blake2b(document.encode(), digest_size=8, person=b"tune").digest()
    return int.from_bytes(digest) < share * 2**64


def hit_rate_at_1(query_ND: Tensor, document_MD: Tensor, positives: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """Whether the best document of each query answers it."""
    best = [int(index) for block in query_ND.split(_BLOCK_QUERIES) for index in (block @ document_MD.T).argmax(1)]
    return np.array([float(index in right) for index, right in zip(best, positives, strict=True)])


def ndcg_at_10(query_ND: Tensor, document_MD: Tensor, positives: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """Normalised discounted cumulative gain of the ten best documents, all answers alike (Järvelin & Kekäläinen)."""
    depth = min(_DEPTH, len(document_MD))
    discount = 1 / np.log2(np.arange(2, _DEPTH + 2))
    blocks = [torch.topk(block @ document_MD.T, depth).indices for block in query_ND.split(_BLOCK_QUERIES)]
    ranked = torch.cat(blocks).tolist() if blocks else []
    gains = []
    for found, right in zip(ranked, positives, strict=True):
        gain = sum(discount[place] for place, document in enumerate(found) if document in right)
        gains.append(gain / discount[: min(len(right), _DEPTH)].sum())
    return np.array(gains)


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
    drawn_R = np.mean([_drawn(a, resamples) - _drawn(b, resamples) for a, b in zip(first, second, strict=True)], axis=0)
    observed = np.mean([_mean(a) - _mean(b) for a, b in zip(first, second, strict=True)])
    low, high = np.quantile(drawn_R, [0.025, 0.975])
    return float(observed), float(low), float(high)


def _drawn(scores: Scores, resamples: int) -> npt.NDArray[np.float64]:
    parts = [distribution(samples, resamples=resamples, seed=0) for samples in samples_of(scores).values()]
    return np.asarray(np.mean(parts, axis=0), np.float64)


def _mean(scores: Scores) -> float:
    return float(np.mean([np.mean([np.mean(one) for one in found.values()]) for found in scores.values()]))
