"""Bootstrap intervals of a task's score and of a mean over tasks, and a paired test of two models. Pure.

A task is a list of subsets (languages). Each holds its samples: scores whose mean is the subset's score, or, where
`gold` is given, predictions that are rank-correlated with it. Resampling is within subsets, as the tasks fix those.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_BLOCK = 2_000_000  # resampled values held at once


@dataclass(frozen=True)
class Samples:
    """What a subset's score is made from."""

    score: Sequence[float]
    gold: Sequence[float] | None = None

    def statistic(self) -> float:
        """The subset's score."""
        if self.gold is None:
            return float(np.mean(self.score))
        from scipy.stats import rankdata  # type: ignore[import-untyped]  # ships no types; a second to import

        return float(np.corrcoef(rankdata(self.score), rankdata(self.gold))[0, 1])


@dataclass(frozen=True)
class Paired:
    """Difference of two models on the same samples."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided: how often a difference at least so large would be seen if there was none."""


def interval(subsets: Mapping[str, Samples], *, resamples: int, seed: int, level: float = 0.95) -> tuple[float, float]:
    """Bootstrap the mean over a task's subsets.

    Args:
        subsets: samples by subset.
        resamples: how many.
        seed: of the resamples.
        level: share of the resamples within the interval.
    """
    return _bounds(distribution(subsets, resamples=resamples, seed=seed), level)


def mean_interval(
    tasks: Mapping[str, Mapping[str, Samples]], *, resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap the mean over tasks; tasks are resampled each on its own."""
    drawn = [distribution(task, resamples=resamples, seed=seed + at) for at, task in enumerate(tasks.values())]
    return _bounds(np.mean(drawn, axis=0), level)


def distribution(subsets: Mapping[str, Samples], *, resamples: int, seed: int) -> Floats:
    """Means over the subsets of resampled data, [resamples]. The same seed draws the same rows for any model."""
    generator = np.random.default_rng(seed)
    total_R = np.zeros(resamples)
    for name in sorted(subsets):
        total_R += _resample(subsets[name], resamples, generator)
    return total_R / len(subsets)


def paired_test(
    first: Mapping[str, Samples], second: Mapping[str, Samples], *, resamples: int, seed: int, level: float = 0.95
) -> Paired:
    """Compare two models on one task: paired bootstrap, since both see the same resampled rows.

    Args:
        first: samples of the first model, by subset.
        second: of the second; the same subsets with the same rows in the same order.
        resamples: how many.
        seed: of the resamples.
        level: share of the resamples within the interval.

    Raises:
        ValueError: the two were not judged on the same rows.
    """
    if {name: len(one.score) for name, one in first.items()} != {name: len(one.score) for name, one in second.items()}:
        raise ValueError("the two models were not judged on the same rows of the task")
    drawn_R = distribution(first, resamples=resamples, seed=seed) - distribution(second, resamples=resamples, seed=seed)
    observed = float(
        np.mean([one.statistic() for one in first.values()]) - np.mean([one.statistic() for one in second.values()])
    )
    low, high = _bounds(drawn_R, level)
    # Shifted to no difference, the resamples show what chance alone gives (Efron & Tibshirani 1993, §16.4).
    extreme = np.abs(drawn_R - drawn_R.mean()) >= abs(observed) - 1e-12
    return Paired(observed, low, high, float((extreme.sum() + 1) / (resamples + 1)))


def _resample(samples: Samples, resamples: int, generator: np.random.Generator) -> Floats:
    score_N = np.asarray(samples.score, np.float64)
    gold_N = None if samples.gold is None else np.asarray(samples.gold, np.float64)
    step = max(1, _BLOCK // len(score_N))
    parts = []
    for start in range(0, resamples, step):
        rows_RN = generator.integers(len(score_N), size=(min(step, resamples - start), len(score_N)))
        if gold_N is None:
            parts.append(score_N[rows_RN].mean(axis=1))
        else:
            parts.append(_rank_correlation(score_N[rows_RN], gold_N[rows_RN]))
    return np.concatenate(parts)


def _rank_correlation(a_RN: Floats, b_RN: Floats) -> Floats:
    """Spearman's correlation row by row."""
    from scipy.stats import rankdata

    a_RN, b_RN = (rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (a_RN, b_RN))
    scale = np.sqrt((a_RN**2).sum(axis=1) * (b_RN**2).sum(axis=1))
    return np.divide((a_RN * b_RN).sum(axis=1), scale, out=np.zeros(len(a_RN)), where=scale > 0)


def _bounds(drawn_R: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn_R, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
