"""The learning rate is a pure function of the step, so a resumed run has the rate it would have had (promise 2).

`lr_vectors.json` holds F2LLM-v2's rates: transformers' cosine schedule through accelerate, with the script's clamp.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from polyglossa.engine.schedule import cosine_to_floor, published

SHAPE = {"peak": 1e-3, "floor": 1e-7, "warmup_steps": 10, "total_steps": 100}
CASES = json.loads(Path(__file__).with_name("lr_vectors.json").read_text(encoding="utf-8"))["cases"]


def test_warm_up_is_linear_and_learns_from_the_first_step() -> None:
    assert cosine_to_floor(0, **SHAPE) == pytest.approx(1e-4)
    assert cosine_to_floor(4, **SHAPE) == pytest.approx(5e-4)
    assert cosine_to_floor(9, **SHAPE) == pytest.approx(1e-3)


def test_cosine_ends_at_the_floor_and_never_rises() -> None:
    rates = [cosine_to_floor(step, **SHAPE) for step in range(10, 100)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-7)
    assert rates == sorted(rates, reverse=True)
    assert cosine_to_floor(500, **SHAPE) == pytest.approx(1e-7)


def test_a_stage_of_one_step_and_no_warm_up_has_the_peak() -> None:
    assert cosine_to_floor(0, peak=1e-3, floor=0.0, warmup_steps=0, total_steps=1) == pytest.approx(1e-3)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['processes']} processes, peak {case['peak']:g}")
def test_the_published_rate_is_that_of_the_script_whatever_the_number_of_processes(case: dict[str, Any]) -> None:
    shape = {name: case[name] for name in ("peak", "total_steps", "warmup_steps")}
    for step, rate in case["rates"].items():
        assert abs(published(int(step), floor=case["min_lr"], **shape) - rate) < 1e-12


def test_the_published_rate_is_cut_by_the_floor_and_zero_at_the_first_step_alone() -> None:
    rates = [published(step, **{**SHAPE, "floor": 2e-4}) for step in range(100)]
    assert rates[0] == 0.0
    assert rates[1:3] == [2e-4, 2e-4]
    assert rates[3] == pytest.approx(3e-4)
    assert rates[10] == 1e-3
    assert set(rates[80:]) == {2e-4}


def test_without_warm_up_the_published_rate_begins_at_the_peak() -> None:
    assert published(0, peak=1e-3, floor=1e-7, warmup_steps=0, total_steps=10) == 1e-3
