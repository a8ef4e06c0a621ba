"""Promise 2: a run that is cut and goes on ends as the undisturbed one, whatever the ZeRO stage and world size."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.resumes import Job, run_job, run_jobs
from polyglossa.engine.checkpoints import checkpoint, checkpoint_index

ZERO = (None, 0, 1, 2, 3)


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    return load_file(folder / name / "output" / "model" / "model.safetensors")


def distance(found: dict[str, Tensor], expected: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    """How far apart two models are, as a share of the way that training went."""
    apart = sum(float((found[name] - expected[name]).double().square().sum()) for name in expected)
    way = sum(float((start[name] - expected[name]).double().square().sum()) for name in expected)
    return (apart / way) ** 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole, cut and resumed runs of two processes, under every backend."""
    folder = tmp_path_factory.mktemp("resume")
    jobs = [Job(f"whole-{zero}", zero) for zero in ZERO]
    jobs += [Job(f"cut-{zero}", zero, stop=5) for zero in ZERO]
    jobs += [Job(f"resumed-{zero}", zero, checkpoints=f"cut-{zero}") for zero in ZERO]
    jobs += [Job(f"from-2-under-{zero}", zero, checkpoints="cut-2") for zero in (0, 3)]
    jobs += [Job("from-3-under-1", 1, checkpoints="cut-3")]
    jobs += [Job("whole-64", dtype="float64"), Job("cut-64", dtype="float64", stop=4)]
    run_jobs(jobs, 2, folder)
    return folder


def untrained(folder: Path) -> dict[str, Tensor]:
    return load_file(next(folder.glob("artifacts/backbone/*/model/model.safetensors")))


@pytest.mark.parametrize("zero", ZERO)
def test_same_world_size_resumes_bit_for_bit(folder: Path, zero: int | None) -> None:
    found, expected = weights(folder, f"resumed-{zero}"), weights(folder, f"whole-{zero}")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("name", "origin"), [("from-2-under-0", 2), ("from-2-under-3", 2), ("from-3-under-1", 3)])
def test_another_zero_stage_takes_over(folder: Path, name: str, origin: int) -> None:
    assert distance(weights(folder, name), weights(folder, f"whole-{origin}"), untrained(folder)) < 1e-4


def test_one_process_takes_over_from_two(folder: Path) -> None:
    run_job(Job("single", checkpoints="cut-3"), 0, 1, folder)
    assert distance(weights(folder, "single"), weights(folder, "whole-3"), untrained(folder)) < 1e-4
    run_job(Job("single-64", checkpoints="cut-64", dtype="float64"), 0, 1, folder)
    found, expected = weights(folder, "single-64"), weights(folder, "whole-64")
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) < 1e-6


def test_a_checkpoint_without_its_marker_is_none(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    shutil.copytree(folder / "cut-1" / "checkpoints", root)
    assert checkpoint_index.latest(str(root)) == 3
    (root / "step-00000003" / "COMMITTED").unlink()
    assert checkpoint_index.latest(str(root)) == 0
    assert checkpoint_index.latest(str(tmp_path / "nothing")) == 0


def test_metrics_hold_every_step_once_after_a_restart(tmp_path: Path) -> None:
    root = str(tmp_path)
    for first in (0, 2):
        checkpoint.write_metrics(root, first, [{"step": step, "run": 1} for step in range(first, first + 2)])
    checkpoint.drop_metrics(root, 2)
    checkpoint.write_metrics(root, 2, [{"step": step, "run": 2} for step in range(2, 6)])
    assert [(row["step"], row["run"]) for row in checkpoint.read_metrics(str(tmp_path))] == [
        (0, 1), (1, 1), (2, 2), (3, 2), (4, 2), (5, 2),
    ]  # fmt: skip
