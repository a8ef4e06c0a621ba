"""Rank documents by a model's vectors: what it finds first, and where the first right answer comes. Pure.

Q queries, N documents, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polyglossa.own.questions import Questions

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
_BLOCK = 512
SHOWN = 3
"""Documents kept of each query."""


@dataclass(frozen=True)
class Ranking:
    """What one model finds for every query."""

    first_QK: Ints
    """Places of the documents that it ranks first."""
    score_QK: Floats
    """Their cosines."""
    rank_Q: Ints
    """Rank of the best right answer, from 1; 0 where none is known."""


def rank(query_QD: Floats, document_ND: Floats, questions: Questions) -> Ranking:
    """Rank all documents for every query; a labelled text does not find itself.

    Args:
        query_QD: unit vectors.
        document_ND: unit vectors.
        questions: what is right, and the texts themselves.
    """
    count = min(SHOWN, len(document_ND))
    first_QK, score_QK = np.zeros((len(query_QD), count), np.int64), np.zeros((len(query_QD), count), np.float32)
    rank_Q = np.zeros(len(query_QD), np.int64)
    itself = _places_of_itself(questions)
    for start in range(0, len(query_QD), _BLOCK):
        stop = min(start + _BLOCK, len(query_QD))
        score_BN = query_QD[start:stop] @ document_ND.T
        for row in range(start, stop):
            scores = score_BN[row - start]
            scores[itself.get(row, [])] = -np.inf
            best = np.argpartition(-scores, count - 1)[:count]
            first_QK[row] = best[np.argsort(-scores[best], kind="stable")]
            score_QK[row] = scores[first_QK[row]]
            rank_Q[row] = best_rank(scores, questions.relevant[row])
    return Ranking(first_QK, score_QK, rank_Q)


def best_rank(scores: Floats, relevant: Sequence[int]) -> int:
    """Rank of the best of some documents, from 1; documents that are right too do not stand in its way."""
    if not relevant:
        return 0
    places = np.asarray(relevant)
    best = float(scores[places].max())
    above = int((scores > best).sum())
    return 1 + above


def _places_of_itself(questions: Questions) -> dict[int, list[int]]:
    if not questions.is_labelled:
        return {}
    places: dict[str, list[int]] = {}
    for place, text in enumerate(questions.documents):
        places.setdefault(text, []).append(place)
    return {row: places[text] for row, text in enumerate(questions.queries) if text in places}
