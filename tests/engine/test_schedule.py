"""The learning rate is a pure function of the step, so a resumed run has the rate it would have had (promise 2)."""

import pytest

from polyglossa.engine.schedule import learning_rate

SHAPE = {"peak": 1e-3, "floor": 1e-7, "warmup_steps": 10, "total_steps": 100}


def test_warm_up_is_linear_and_learns_from_the_first_step() -> None:
    assert learning_rate(0, **SHAPE) == pytest.approx(1e-4)
    assert learning_rate(4, **SHAPE) == pytest.approx(5e-4)
    assert learning_rate(9, **SHAPE) == pytest.approx(1e-3)


def test_cosine_ends_at_the_floor_and_never_rises() -> None:
    rates = [learning_rate(step, **SHAPE) for step in range(10, 100)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-7)
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(500, **SHAPE) == pytest.approx(1e-7)


def test_a_stage_of_one_step_and_no_warm_up_has_the_peak() -> None:
    assert learning_rate(0, peak=1e-3, floor=0.0, warmup_steps=0, total_steps=1) == pytest.approx(1e-3)
