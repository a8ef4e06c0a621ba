"""Choose hard negatives among ranked candidates. Pure numpy; every rule names where it comes from.

Legend: Q = queries, K = candidates per query (best first), N = negatives kept per query.

The order of the rules is fixed, and a candidate counts as rejected by the first one that refuses it:
identity (a known positive, the query's group, the same text, a near copy) → rank window → score ceiling → relative
margin → absolute margin. Ranks count what is left after identity, so a positive never uses up a place of the window.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polyglossa.hash_order import scatter

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

IDENTITY = {1: "known_positive", 2: "same_group", 3: "same_text", 4: "near_copy"}
"""Why a candidate is excluded for what it is, whatever its score: code in `excluded_QK` → name of the rule."""


@dataclass(frozen=True)
class Rules:
    """What may be a negative. Scores are cosines."""

    window: int = 100
    """Candidates looked at per query, from rank 0 on (top 100 in F2LLM v1)."""
    skip: int = 0
    """First ranks passed over: they are likely unlabelled positives (5 in F2LLM v1; RocketQA, arXiv 2010.08191)."""
    max_score: float | None = None
    """Candidates at or above it are refused (0.8 in F2LLM v1)."""
    relative_margin: float | None = None
    """Candidates above positive − (1 − margin)·|positive| are refused: TopK-PercPos of NV-Retriever (arXiv 2407.15831),
    written so that it also holds where the positive's score is negative."""
    absolute_margin: float | None = None
    """Candidates above positive − margin are refused: TopK-MarginPos of NV-Retriever (arXiv 2407.15831)."""
    negatives: int = 24
    """Negatives kept per query, the hardest first."""
    consistency: int | None = None
    """A query whose best positive does not rank within it is refused: the pair itself is doubtful (Promptagator,
    arXiv 2209.11755; E5, arXiv 2212.03533). None asks for nothing."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for every query."""

    candidate_QN: Ints
    """Chosen candidates, hardest first; −1 where there are fewer than N."""
    score_QN: Floats
    """Their scores; NaN where there is none."""
    rejects: Mapping[str, int]
    """Candidates refused, by rule."""
    inconsistent_Q: Flags
    """True where the positive ranks too low (`consistency`)."""
    refused_QK: npt.NDArray[np.int8]
    """Which rule refused each candidate: index into `RULES`, 0 for none, −1 for beyond the window or no candidate."""


RULES = ("", *IDENTITY.values(), "skipped_rank", "max_score", "relative_margin", "absolute_margin")


def choose(
    candidate_QK: Ints,
    score_QK: Floats,
    lowest_positive_Q: Floats,
    highest_positive_Q: Floats,
    excluded_QK: npt.NDArray[np.int8],
    rules: Rules,
) -> Choice:
    """Choose negatives by the rules.

    Args:
        candidate_QK: candidates, best first; −1 where there is none.
        score_QK: their scores.
        lowest_positive_Q: score of each query's lowest known positive: margins are measured from it, on the safe side.
        highest_positive_Q: score of its highest one, for the consistency filter.
        excluded_QK: 0, or why the candidate is excluded for what it is (`IDENTITY`).
        rules: see `Rules`.
    """
    refused_QK = refuse(candidate_QK, score_QK, lowest_positive_Q, excluded_QK, rules)
    allowed_QK = refused_QK == 0
    place_QK = np.cumsum(allowed_QK, axis=1) - 1
    row, column = np.nonzero(allowed_QK & (place_QK < rules.negatives))
    candidate_QN = np.full((len(candidate_QK), rules.negatives), -1, np.int64)
    score_QN = np.full(candidate_QN.shape, np.nan, np.float32)
    candidate_QN[row, place_QK[row, column]] = candidate_QK[row, column]
    score_QN[row, place_QK[row, column]] = score_QK[row, column]
    counts = np.bincount(refused_QK[refused_QK > 0], minlength=len(RULES))
    return Choice(
        candidate_QN,
        score_QN,
        {name: int(count) for name, count in zip(RULES[1:], counts[1:], strict=True) if count},
        inconsistent(candidate_QK, score_QK, highest_positive_Q, excluded_QK, rules.consistency),
        refused_QK,
    )


def refuse(
    candidate_QK: Ints, score_QK: Floats, positive_Q: Floats, excluded_QK: npt.NDArray[np.int8], rules: Rules
) -> npt.NDArray[np.int8]:
    """Name the first rule that refuses each candidate (see `Choice.refused_QK`)."""
    rank_QK = np.cumsum(excluded_QK == 0, axis=1) - 1
    ceiling = np.inf if rules.max_score is None else rules.max_score
    relative_Q1 = relative_bar(positive_Q, rules.relative_margin)[:, None]
    absolute_Q1 = (positive_Q - (-np.inf if rules.absolute_margin is None else rules.absolute_margin))[:, None]
    first = len(IDENTITY) + 1
    return np.select(
        [
            candidate_QK < 0,
            (excluded_QK > 0) & (rank_QK < rules.window),
            (excluded_QK > 0) | (rank_QK >= rules.window),
            rank_QK < rules.skip,
            score_QK >= ceiling,
            score_QK > relative_Q1,
            score_QK > absolute_Q1,
        ],
        [np.int8(-1), excluded_QK, np.int8(-1), *(np.int8(first + i) for i in range(4))],
        default=np.int8(0),
    )


def relative_bar(positive_Q: Floats, margin: float | None) -> Floats:
    """Return the score above which a candidate is too near to the positive: positive − (1 − margin)·|positive|.

    margin·positive, as it is often written, moves the bar *above* a positive of negative score.
    """
    if margin is None:
        return np.full_like(positive_Q, np.inf)
    return (positive_Q - np.float32(1 - margin) * np.abs(positive_Q)).astype(np.float32)


def inconsistent(
    candidate_QK: Ints,
    score_QK: Floats,
    positive_Q: Floats,
    excluded_QK: npt.NDArray[np.int8],
    within: int | None,
) -> Flags:
    """Tell which positives do not rank among the first `within`; only candidates that may be negatives stand before."""
    if within is None:
        return np.zeros(len(candidate_QK), bool)
    before_QK = (candidate_QK >= 0) & (excluded_QK == 0) & (score_QK > positive_Q[:, None])
    return before_QK.sum(axis=1) >= within


def fill(
    choice_QN: Ints, key_Q: npt.NDArray[np.uint64], pool: int, excluded: Ints, seed: int, draws: int = 8
) -> tuple[Ints, Flags]:
    """Fill short rows with random documents of the pool: the plain negatives of DPR (arXiv 2004.04906).

    Counter-based: what a query gets depends on its key and the seed alone.

    Args:
        choice_QN: chosen documents, −1 where there is room.
        key_Q: a number per query that stays the same from run to run.
        pool: number of documents to draw from.
        excluded: sorted codes query · pool + document of what may not be drawn.
        seed: salt.
        draws: draws per free place; a small pool can leave a row short.

    Returns:
        The filled rows, and flags of the places that were filled.
    """
    filled_QN, new_QN = choice_QN.copy(), np.zeros(choice_QN.shape, bool)
    short = np.flatnonzero((choice_QN < 0).any(axis=1))
    if not len(short) or not pool:
        return filled_QN, new_QN
    for draw in range(draws * choice_QN.shape[1]):
        free_SN = filled_QN[short] < 0
        short = short[free_SN.any(axis=1)]
        if not len(short):
            break
        place = (filled_QN[short] < 0).argmax(axis=1)
        salt = scatter(np.array([seed + (draw << 32)], np.uint64))
        document = (scatter(key_Q[short] ^ salt) % np.uint64(pool)).astype(np.int64)
        taken = (filled_QN[short] == document[:, None]).any(axis=1) | contains(excluded, short * pool + document)
        filled_QN[short[~taken], place[~taken]] = document[~taken]
        new_QN[short[~taken], place[~taken]] = True
    return filled_QN, new_QN


def contains(ordered: Ints, values: Ints) -> Flags:
    """Tell which values are in a sorted array."""
    if not len(ordered):
        return np.zeros(values.shape, bool)
    return ordered[np.searchsorted(ordered, values).clip(max=len(ordered) - 1)] == values
