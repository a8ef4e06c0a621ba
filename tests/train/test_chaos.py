"""Promise 2 on Ray: a killed worker, then a killed driver, and the model still ends as the undisturbed run's."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.test_resume import distance

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]


def start(root: Path, workers: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent / "platform")])}
    log = open(root.parent / f"{root.name}.log", "ab")  # noqa: SIM115 - the process keeps it
    return subprocess.Popen(
        [sys.executable, "-m", "train.chaos", str(root), str(workers)], env=environment, stdout=log, stderr=log
    )


def finish(root: Path, workers: int) -> dict[str, Tensor]:
    process = start(root, workers)
    assert process.wait(timeout=180) == 0, (root.parent / f"{root.name}.log").read_text()[-3000:]
    return trained(root)


def trained(root: Path) -> dict[str, Tensor]:
    return load_file(next(root.glob("artifacts/train/*/model/model.safetensors")))


def await_checkpoint(root: Path) -> None:
    """Wait until the running training has committed a checkpoint."""
    deadline = time.monotonic() + 120
    while not list(root.glob("checkpoints/*/step-*/COMMITTED")):
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[bytes]) -> Iterator[psutil.Process]:
    for child in psutil.Process(process.pid).children(recursive=True):
        if "RayTrainWorker" in " ".join(child.cmdline()):
            yield child


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    finish(root, 2)
    return root


def test_a_killed_worker_changes_nothing(undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, 2)
    await_checkpoint(tmp_path)
    victim = next(workers_of(process))
    victim.kill()
    assert process.wait(timeout=180) == 0
    found, expected = trained(tmp_path), trained(undisturbed)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_killed_driver_is_taken_up_by_one_worker(undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, 2)
    await_checkpoint(tmp_path)
    orphans = list(workers_of(process))
    process.kill()
    process.wait()
    _gone, alive = psutil.wait_procs(orphans, timeout=30)
    assert orphans
    assert not alive
    assert not list(tmp_path.glob("artifacts/train/*/COMMITTED"))
    found, expected = finish(tmp_path, 1), trained(undisturbed)
    start_weights = load_file(next(tmp_path.glob("artifacts/backbone/*/model/model.safetensors")))
    assert distance(found, expected, start_weights) < 1e-4
    assert not list(tmp_path.glob("checkpoints/*"))
