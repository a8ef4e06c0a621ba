"""Rules that choose negatives: each does what its paper says, also for negative scores, and counts what it refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyglossa.mine.choose import RULES, Rules, choose, fill, relative_bar


def choose_one(scores: list[float], positive: float, excluded: list[int] | None = None, **rules: object):
    """Choose for one query whose candidates are 0, 1, 2 … in the order of the scores."""
    return choose(
        np.arange(len(scores))[None],
        np.array([scores], np.float32),
        np.array([positive], np.float32),
        np.array([positive], np.float32),
        np.array([excluded or [0] * len(scores)], np.int8),
        Rules(**rules),
    )


def chosen(choice) -> list[int]:
    return [candidate for candidate in choice.candidate_QN[0].tolist() if candidate >= 0]


def test_without_rules_the_hardest_are_kept_with_their_scores():
    choice = choose_one([0.9, 0.8, 0.7, 0.6], 0.5, negatives=3)
    assert chosen(choice) == [0, 1, 2]
    np.testing.assert_allclose(choice.score_QN[0], [0.9, 0.8, 0.7])


def test_places_that_nothing_fills_say_so():
    choice = choose_one([0.9], 0.5, negatives=3)
    assert choice.candidate_QN[0].tolist() == [0, -1, -1]
    assert np.isnan(choice.score_QN[0, 1:]).all()


def test_window_and_skip_count_ranks_among_those_that_may_be_negatives():
    choice = choose_one([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 0.95, [1, 0, 0, 2, 0, 0], window=3, skip=1, negatives=9)
    assert chosen(choice) == [2, 4]
    assert choice.rejects == {"known_positive": 1, "same_group": 1, "skipped_rank": 1}


def test_a_score_at_the_ceiling_is_refused():
    assert chosen(choose_one([0.8, 0.79], 1.0, max_score=0.8)) == [1]


@pytest.mark.parametrize(
    ("positive", "scores", "kept"),
    [(0.8, [0.79, 0.77, 0.76, 0.75], [2, 3]), (-0.2, [-0.19, -0.205, -0.212, -0.3], [2, 3]), (0.0, [0.01, 0.0], [1])],
)
def test_relative_margin_lies_below_the_positive_whatever_its_sign(positive, scores, kept):
    assert chosen(choose_one(scores, positive, relative_margin=0.95)) == kept


@given(st.floats(-1, 1, width=32), st.floats(0.5, 1.0))
@settings(max_examples=50, deadline=None)
def test_relative_margin_never_rises_above_the_positive(positive, margin):
    assert relative_bar(np.array([positive], np.float32), margin)[0] <= np.float32(positive)


def test_absolute_margin_is_measured_from_the_positive():
    assert chosen(choose_one([0.71, 0.69, 0.2], 0.8, absolute_margin=0.1)) == [1, 2]


def test_identity_is_refused_whatever_the_score_and_counted_by_rule():
    choice = choose_one([0.5, 0.4, 0.3, 0.2, 0.1], 0.9, [1, 2, 3, 4, 0])
    assert chosen(choice) == [4]
    assert choice.rejects == {"known_positive": 1, "same_group": 1, "same_text": 1, "near_copy": 1}


def test_every_candidate_of_the_window_is_chosen_or_refused_by_one_rule():
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.uniform(-1, 1, (50, 30)).astype(np.float32), axis=1)
    candidates = np.argsort(rng.random((50, 30)), axis=1)
    excluded = rng.choice([0, 0, 0, 1, 2, 3, 4], (50, 30)).astype(np.int8)
    positive = rng.uniform(-1, 1, 50).astype(np.float32)
    rules = Rules(window=20, skip=2, max_score=0.9, relative_margin=0.9, absolute_margin=0.05, negatives=30)
    choice = choose(candidates, scores, positive, positive, excluded, rules)
    beyond = (choice.refused_QK == -1).sum()
    assert (choice.candidate_QN >= 0).sum() + sum(choice.rejects.values()) + beyond == 50 * 30
    assert set(choice.rejects) <= set(RULES)


def test_consistency_asks_that_the_positive_ranks_within_k():
    assert not choose_one([0.9, 0.8, 0.2], 0.5, consistency=3).inconsistent_Q[0]
    assert choose_one([0.9, 0.8, 0.2], 0.5, consistency=2).inconsistent_Q[0]
    assert not choose_one([0.9, 0.8, 0.2], 0.5, [2, 0, 0], consistency=2).inconsistent_Q[0]


def test_margins_are_measured_from_the_lowest_positive_and_consistency_from_the_highest():
    choice = choose(
        np.arange(3)[None],
        np.array([[0.6, 0.45, 0.3]], np.float32),
        np.array([0.5], np.float32),
        np.array([0.7], np.float32),
        np.zeros((1, 3), np.int8),
        Rules(relative_margin=0.95, consistency=1),
    )
    assert chosen(choice) == [1, 2]
    assert not choice.inconsistent_Q[0]


def test_fill_draws_no_candidate_twice_and_none_that_is_excluded():
    chosen_rows = np.full((40, 6), -1)
    chosen_rows[:, 0] = 3
    excluded = np.sort(np.concatenate([np.arange(40) * 10 + 1, np.arange(40) * 10 + 2]))
    filled, new = fill(chosen_rows, np.arange(40, dtype=np.uint64) * 77, 10, excluded, seed=0, draws=40)
    assert (filled >= 0).all()
    assert all(len(set(row)) == 6 for row in filled.tolist())
    assert not np.isin(filled, [1, 2]).any()
    assert new.sum() == 40 * 5


def test_fill_of_a_query_does_not_depend_on_its_neighbours():
    keys = np.arange(20, dtype=np.uint64) * 991
    together, _ = fill(np.full((20, 4), -1), keys, 1000, np.empty(0, np.int64), seed=3)
    alone, _ = fill(np.full((1, 4), -1), keys[7:8], 1000, np.empty(0, np.int64), seed=3)
    other, _ = fill(np.full((20, 4), -1), keys, 1000, np.empty(0, np.int64), seed=4)
    np.testing.assert_array_equal(together[7], alone[0])
    assert (together != other).any()


def test_fill_from_a_pool_that_is_too_small_leaves_places_empty():
    filled, _ = fill(np.full((1, 4), -1), np.array([5], np.uint64), 2, np.empty(0, np.int64), seed=0)
    assert sorted(filled[0].tolist()) == [-1, -1, 0, 1]
