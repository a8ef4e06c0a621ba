"""Intervals cover what they claim, paired tests see what is there and nothing else."""

import numpy as np
import pytest

from polyglossa.evaluate.scoring.statistics import Samples, interval, mean_interval, paired_test


def coins(share: float, count: int, seed: int) -> Samples:
    return Samples((np.random.default_rng(seed).random(count) < share).astype(float).tolist())


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(100):
        low, high = interval({"a": coins(0.6, 150, seed)}, resamples=300, seed=seed)
        covered += low <= 0.6 <= high
    assert 88 <= covered <= 100


def test_interval_of_a_mean_is_narrower_than_that_of_a_task() -> None:
    tasks = {name: {"a": coins(0.5, 200, seed)} for seed, name in enumerate("wxyz")}
    low, high = mean_interval(tasks, resamples=500, seed=0)
    alone = interval(tasks["w"], resamples=500, seed=0)
    assert high - low < 0.7 * (alone[1] - alone[0])


def test_same_samples_differ_by_nothing() -> None:
    samples = {"a": coins(0.5, 100, 1)}
    test = paired_test(samples, samples, resamples=500, seed=0)
    assert (test.difference, test.low, test.high) == (0, 0, 0)
    assert test.p == 1


def test_a_small_but_constant_gain_is_more_than_chance() -> None:
    base = np.random.default_rng(0).random(200)
    better = {"a": Samples((base + 0.02).tolist())}
    test = paired_test(better, {"a": Samples(base.tolist())}, resamples=500, seed=0)
    assert test.difference == pytest.approx(0.02)
    assert test.p < 0.01


def test_rank_correlation_is_resampled_by_pairs() -> None:
    generator = np.random.default_rng(0)
    gold = generator.random(200)
    samples = Samples((gold + 0.3 * generator.random(200)).tolist(), gold.tolist())
    low, high = interval({"a": samples}, resamples=300, seed=0)
    assert low < samples.statistic() < high
    assert high - low < 0.1


def test_other_rows_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same rows"):
        paired_test({"a": coins(0.5, 10, 0)}, {"a": coins(0.5, 11, 0)}, resamples=100, seed=0)
