"""Choose the models that go into an average: pure rules over a score that is passed in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

ScoreOf = Callable[[Sequence[int]], float]


@dataclass(frozen=True)
class Recipe:
    """Models of an average, with its score and what was tried on the way (indices in the order they were given)."""

    ingredients: tuple[int, ...]
    score: float
    trials: tuple[tuple[tuple[int, ...], float], ...]


def greedy_soup(scores: Sequence[float], score_of: ScoreOf) -> Recipe:
    """Add models in order of their own score, keeping each one that does not make the average worse.

    Args:
        scores: score of each model alone, higher is better.
        score_of: score of the equal average of some models.

    Source: Wortsman et al. 2022, arXiv 2203.05482, recipe 1.
    """
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    ingredients: tuple[int, ...] = (order[0],)
    best = scores[order[0]]
    trials: list[tuple[tuple[int, ...], float]] = []
    for candidate in order[1:]:
        tried = (*ingredients, candidate)
        score = score_of(tried)
        trials.append((tried, score))
        if score >= best:
            ingredients, best = tried, score
    return Recipe(ingredients, best, tuple(trials))
