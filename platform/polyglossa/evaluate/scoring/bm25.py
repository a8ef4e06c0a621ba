"""The BM25 baseline: searches from files, and labelled text by its nearest training texts.

bm25s ranks, as in mteb's own baseline, whose tokenizer knows stop words, stems and scripts of the task's language.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence

import bm25s  # type: ignore[import-untyped]  # ships no types
import numpy as np
import numpy.typing as npt
import pytrec_eval
import xxhash
from mteb.models.model_implementations.bm25 import BM25Tokenizer

from polyglossa.evaluate.scoring.statistics import Samples
from polyglossa.evaluate.scoring.summary import SPLIT
from polyglossa.evaluate.tasks.file_lists import rows_by_subset
from polyglossa.evaluate.tasks.from_files import build_local
from polyglossa.recipe.sections.evaluate import ClassificationTask, LocalTask, RetrievalTask

_NEIGHBOURS = 5
"""Training texts that vote for a label."""

Ints = npt.NDArray[np.int64]


def judge_task(task: LocalTask) -> tuple[dict[str, Samples], dict[str, str]]:
    """Score a search or labelled text: samples by subset, and what kind of task it is; of other kinds nothing."""
    if isinstance(task, RetrievalTask):
        return dict(_searches(task)), {"type": "Retrieval", "metric": "ndcg_at_10"}
    if isinstance(task, ClassificationTask):
        return dict(_labels(task)), {"type": "Classification", "metric": "accuracy"}
    return {}, {}


def _searches(task: RetrievalTask) -> Iterator[tuple[str, Samples]]:
    built = build_local(task, list(rows_by_subset(task)))
    built.load_data()
    for subset, splits in built.dataset.items():
        data = splits[SPLIT]
        documents, ids = data["corpus"]["text"][:], data["corpus"]["id"][:]
        queries, names = data["queries"]["text"][:], data["queries"]["id"][:]
        found_QK, score_QK = ranked(documents, queries, _language(task, subset), 10)
        results = {
            name: {ids[place]: float(score) for place, score in zip(places, scores, strict=True) if score > 0}
            for name, places, scores in zip(names, found_QK.tolist(), score_QK.tolist(), strict=True)
        }
        scored = pytrec_eval.RelevanceEvaluator(data["relevant_docs"], {"ndcg_cut.10"}).evaluate(results)
        yield subset, Samples([scored[name]["ndcg_cut_10"] if name in scored else 0.0 for name in sorted(names)])


def _labels(task: ClassificationTask) -> Iterator[tuple[str, Samples]]:
    """Let as many training texts vote as a model's classifier is fitted on, in as many experiments."""
    built = build_local(task, list(rows_by_subset(task)))
    built.load_data()
    for subset, splits in built.dataset.items():
        known, asked = splits["train"], splits[SPLIT]
        texts, labels = known["text"][:], known["label"][:]
        queries, right = asked["text"][:], np.asarray(asked["label"][:])
        language = _language(task, subset)
        hits_EQ = [
            _chosen(_few(texts, labels, task.samples_per_label, seed), queries, language) == right
            for seed in range(task.experiments)
        ]
        yield subset, Samples(np.mean(hits_EQ, axis=0).tolist())


def _few(texts: Sequence[str], labels: Sequence[int], count: int, seed: int) -> list[tuple[str, int]]:
    """Choose a few texts of each label by hash."""
    order = sorted(zip(texts, labels, strict=True), key=lambda row: xxhash.xxh3_64_intdigest(row[0].encode(), seed))
    taken: Counter[int] = Counter()
    few = []
    for text, label in order:
        if taken[label] < count:
            taken[label] += 1
            few.append((text, label))
    return few


def _chosen(known: Sequence[tuple[str, int]], queries: Sequence[str], language: str) -> Ints:
    """The label that the nearest known texts vote for, [queries]."""
    labels = np.asarray([label for _, label in known])
    found_QK, score_QK = ranked([text for text, _ in known], queries, language, _NEIGHBOURS)
    most = Counter(labels.tolist()).most_common(1)[0][0]
    rows = zip(found_QK, score_QK, strict=True)
    return np.asarray([_vote(labels[places], scores, most) for places, scores in rows])


def _vote(labels: Ints, scores: npt.NDArray[np.float32], otherwise: int) -> int:
    """The label with the largest sum of scores; of texts that share no word, the most frequent label."""
    votes: Counter[int] = Counter()
    for label, score in zip(labels.tolist(), scores.tolist(), strict=True):
        if score > 0:
            votes[label] += score
    return votes.most_common(1)[0][0] if votes else otherwise


def _language(task: LocalTask, subset: str) -> str:
    return subset if len(subset) == 3 and subset.isalpha() else task.language


def ranked(
    documents: Sequence[str], queries: Sequence[str], language: str, count: int
) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Rank documents for each query.

    Args:
        documents: what is searched.
        queries: what asks.
        language: ISO 639-3; one that is not known gets no stop words and no stems.
        count: documents kept of each query.

    Returns:
        Places of the documents and their scores, [queries, count]; a score of 0 shares no word.
    """
    tokenizer = BM25Tokenizer(language=language)
    with contextlib.redirect_stderr(io.StringIO()):  # bm25s draws bars wherever it is called from
        index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
        index.index(tokenizer.fit_transform(list(documents)), show_progress=False)
        asked = tokenizer.transform(list(queries))
        found, scores = index.retrieve(asked, k=min(count, len(documents)), show_progress=False)
    return np.asarray(found, np.int64), np.asarray(scores, np.float32)
