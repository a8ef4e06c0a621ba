"""A training node is lost: the run goes on from its last checkpoint on a new node, and takes every step once."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.schemas import ROOT
from cluster.twin.jobs import PROFILE, RAY, SMALL_RECIPE, environment, submit, until
from polyglossa.cluster.local_cluster import LocalCluster, running_local_cluster
from polyglossa.cluster.spec import load_spec


@pytest.mark.slow
def test_a_lost_training_node_costs_no_step(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SMALL_RECIPE)
    spec = load_spec(ROOT / "cluster" / "spec.yaml")
    with running_local_cluster(spec, idle_seconds=15) as twin:
        command = ("python", "jobs/train.py", str(tmp_path / "tiny.yaml"), *PROFILE, "--set", f"storage={tmp_path}")
        assert submit(twin, *command, options=("--no-wait", "--submission-id", "hurt")).returncode == 0
        until(lambda: list(tmp_path.glob("tiny/checkpoints/*/step-*")) and _trainers(twin))
        raylet = next(_trainers(twin)).parent()
        raylet.send_signal(signal.SIGKILL)
        until(lambda: "succeeded" in (said := _ray(twin, "job", "status", "hurt").lower()) or "failed" in said)
        assert "succeeded" in _ray(twin, "job", "status", "hurt").lower(), _ray(twin, "job", "logs", "hurt")
    (manifest,) = tmp_path.glob("tiny/artifacts/train/*/manifest.json")
    assert json.loads(manifest.read_text())["counts"]["resumed_at"] >= 20
    lines = manifest.with_name("metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(300))


def _trainers(twin: LocalCluster) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        try:
            ours = os.getsid(process.pid) == twin.session
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
        if ours and (process.info["cmdline"] or [""])[0].startswith("ray::RayTrainWorker"):
            yield process


def _ray(twin: LocalCluster, *command: str) -> str:
    ask = [RAY, *command]
    return subprocess.run(
        ask, cwd=ROOT, env=environment(twin), capture_output=True, text=True, timeout=120, check=True
    ).stdout
