"""Promise 1: the number of processes and the ZeRO stage change nothing; nor do cached gradients."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.worlds import Case, run_case, run_cases

PUBLISHED = json.dumps({"matryoshka": "published", "gather": "query_only", "mask": "none"})
FULL = json.dumps({"matryoshka": "uniform", "bidirectional": True, "mask": "known"})
LEARNED = json.dumps({"learned_temperature": True, "bidirectional": True})
EVERY_TERM = json.dumps(
    {
        "matryoshka": "learned",
        "learned_temperature": True,
        "mask": "known+score",
        "candidates": ["positives", "negatives", "queries", "documents"],
        "terms": {
            "scores": 0.3, "angle": 0.3, "spread_out": 2.0, "int8": 0.4, "binary": 0.4, "margin_mse": 0.5,
            "candidate_kl": 0.5, "similarity_kl_by_width": 0.5,
        },
    }
)  # fmt: skip
MASKED = json.dumps({"masked_tokens": {"share": 0.3, "weight": 0.5}, "learned_temperature": True})
VARIANTS = [
    Case("plain_objective"),
    Case("learned_temperature", objective=LEARNED, resident_tokens=80, pass_tokens=40),
    Case("joined", pass_tokens=50, objective=PUBLISHED),
    Case("cached_one_by_one_dropout", resident_tokens=1, dropout=0.2, objective=FULL, teacher=True),
    Case("every_term", objective=EVERY_TERM, teacher=True, scored=True, resident_tokens=80, pass_tokens=40),
    Case("masked", objective=MASKED, resident_tokens=80),
    Case("updates", objective=FULL, updates=3, pass_tokens=40, resident_tokens=80),
]
BACKENDS = ["plain", "zero0", "zero1", "zero2", "zero3"]


def of(variant: Case, backend: str) -> Case:
    return dataclasses.replace(variant, name=f"{variant.name}-{backend}", backend=backend)


def worst(found: dict[str, Tensor], expected: dict[str, Tensor], kind: str) -> float:
    """Largest error of any tensor of a kind, relative to that tensor's largest value."""
    names = [name for name in expected if name.startswith(kind)]
    assert names
    assert set(names) == {name for name in found if name.startswith(kind)}
    return max(float((found[n] - expected[n]).abs().max() / expected[n].abs().max().clamp_min(1e-12)) for n in names)


def check(folder: Path, world: int) -> None:
    cases = [of(variant, backend) for variant in VARIANTS for backend in BACKENDS]
    cases.append(Case("reference", dtype="float64", dropout=0.2, objective=FULL, resident_tokens=1))
    run_cases(cases, world, folder)
    for variant in VARIANTS:
        expected = run_case(dataclasses.replace(variant, resident_tokens=1 << 20), 0, 1)
        for backend in BACKENDS:
            found = load_file(folder / f"{variant.name}-{backend}.safetensors")
            assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6), backend
            assert float(found["validation"]) == pytest.approx(float(expected["validation"]), rel=1e-6), backend
            assert worst(found, expected, "gradient/") < 1e-5, (variant.name, backend)
            torch.testing.assert_close(found["norms"], expected["norms"], rtol=1e-5, atol=0)
            if variant.updates:
                assert worst(found, expected, "weight/") < 1e-4, (variant.name, backend)
    expected = run_case(dataclasses.replace(cases[-1], resident_tokens=1 << 20), 0, 1)
    found = load_file(folder / "reference.safetensors")
    assert worst(found, expected, "gradient/") < 1e-12


def test_two_processes_compute_what_one_does_under_every_zero_stage(tmp_path: Path) -> None:
    check(tmp_path, 2)


@pytest.mark.slow
def test_four_processes_compute_what_one_does_under_every_zero_stage(tmp_path: Path) -> None:
    check(tmp_path, 4)


def test_validation_is_the_loss_without_dropout_and_leaves_training_as_it_was() -> None:
    plain, dropped = run_case(Case("a", objective=FULL), 0, 1), run_case(Case("b", objective=FULL, dropout=0.3), 0, 1)
    assert float(dropped["validation"]) == pytest.approx(float(plain["loss"]), rel=1e-6)
    assert abs(float(dropped["loss"]) - float(plain["loss"])) > 1e-3


@pytest.mark.parametrize("objective", [FULL, EVERY_TERM, MASKED])
def test_cached_gradients_equal_one_backward_in_float64(objective: str) -> None:
    every = objective == EVERY_TERM
    whole = Case("whole", dtype="float64", dropout=0.3, objective=objective, teacher=every, scored=every)
    expected = run_case(whole, 0, 1)
    for resident in (1, 60, 150):
        found = run_case(dataclasses.replace(whole, resident_tokens=resident), 0, 1)
        assert worst(found, expected, "gradient/") < 1e-12


def test_a_learned_temperature_gets_the_gradient_of_the_loss() -> None:
    def loss_at(temperature: float) -> dict[str, Tensor]:
        learned = json.dumps({"learned_temperature": True, "temperature": temperature})
        return run_case(Case("learned", dtype="float64", objective=learned), 0, 1)

    there, step = math.log(0.05), 1e-5
    above, below = loss_at(math.exp(there + step)), loss_at(math.exp(there - step))
    slope = float(above["loss"] - below["loss"]) / (2 * step)
    assert float(loss_at(0.05)["gradient/log_temperature"]) == pytest.approx(slope, rel=1e-6)
