"""Protects the graph on a cluster that scales: nodes run at once, and lost machines and drivers change no byte.

Three members train at the same time on the twin, whose machines are spot machines: again and again one is taken away.
A training machine is killed, then the run's own process; the same command goes on and ends with the artifacts of a run
that makes one node after another on this machine. Up to the training: what follows would load mteb three times on two
cores.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml

from cluster.schemas import ROOT
from cluster.specs import changed
from cluster.twin.jobs import log, machines_of, submit, until
from polyglossa.cluster.local_cluster import LocalCluster, running_local_cluster

pytestmark = pytest.mark.slow

MEMBER = """
  - name: {name}
    backbone:
      shape: {{hidden: {hidden}, mlp: 64, layers: 2, heads: 2, kv_heads: 1, head_dim: 16}}
      tokenizer: {{vocabulary: 1000}}
      max_tokens: 64
    stages: [stage1]
"""
STEPS, CHECKPOINT_STEPS = 240, 10
RECIPE = f"""
name: three
corpus:
  sources: [{{kind: pydoc}}]
training:
  stage1: {{global_batch: 64, steps: {STEPS}, max_tokens: 64, learning_rate: 1.0e-3, warmup_steps: 10, dtype: float32}}
members:
{"".join(MEMBER.format(name=name, hidden=hidden) for name, hidden in (("a", 32), ("b", 48), ("c", 64)))}
evaluate: {{heldout: [pydoc]}}
"""
GROUPS = {"cpu": (1, 2), "train": (2, 2), "embed": (1, 2), "serve": (2, 1)}
"""CPUs and number of machines of each group."""
LIMIT_SECONDS = 420
SPOT_SECONDS = 90
"""Seconds that machines live, added up, before one is taken: of five machines one every 18 seconds, where the promise
speaks of a fifth in an hour."""


def test_lost_machines_and_drivers_change_nothing_of_what_nodes_at_the_same_time_make(tmp_path: Path) -> None:
    (tmp_path / "three.yaml").write_text(RECIPE)
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(profile(labelled=True)))
    (tmp_path / "narrow.yaml").write_text(yaml.safe_dump(profile(labelled=False) | {"concurrent_nodes": 1}))
    one_after_another(tmp_path)
    groups = {name: {"twin": {"cpus": cpus, "max": machines}} for name, (cpus, machines) in GROUPS.items()}
    with running_local_cluster(changed(groups=groups), idle_seconds=60) as twin, SpotMarket(twin) as spot:
        command = ["python", "jobs/train.py", *arguments(tmp_path, "wide")]
        assert submit(twin, *command, options=("--no-wait", "--submission-id", "first")).returncode == 0
        root, told = tmp_path / "wide" / "three", partial(log, twin, "first")
        until(lambda: len(at_work(root, "train")) >= 3 and checkpoints(root), told)  # three at the same time
        driver = until(lambda: driver_of("train.a.stage1", twin), told)
        with suppress(psutil.NoSuchProcess):  # it was taken away at this very moment
            machine = driver.parent()
            assert machine is not None
            machine.kill()
        time.sleep(5)
        until(lambda: driver_of("train.a.stage1", twin), told)  # it has begun again
        run = until(lambda: run_of(tmp_path / "three.yaml"), told)
        run.kill()
        until(lambda: driver_of("train.a.stage1", twin) is None, told)
        again = submit(twin, *command, seconds=LIMIT_SECONDS)
        assert again.returncode == 0, again.stdout[-3000:]
    print(f"{spot.taken} machines taken away")
    assert spot.taken >= 2
    assert content(root) == content(tmp_path / "narrow" / "three")
    assert timeline(tmp_path / "narrow" / "three")["most_nodes_at_once"] == 1
    assert not list(root.glob("leases/*"))
    for member in ("a", "b", "c"):
        (manifest,) = root.glob(f"artifacts/train/train.{member}.*/manifest.json")
        lines = manifest.with_name("metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(STEPS)), "no step twice, none left out"
    (manifest,) = root.glob("artifacts/train/train.a.*/manifest.json")
    assert json.loads(manifest.read_text())["counts"]["resumed_at"] >= CHECKPOINT_STEPS


class SpotMarket:
    """Takes machines of the twin away, each in its turn, for as long as it is open."""

    def __init__(self, twin: LocalCluster) -> None:
        self.taken = 0
        self._twin, self._closed = twin, threading.Event()
        self._thread = threading.Thread(target=self._take)

    def __enter__(self) -> "SpotMarket":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def _take(self) -> None:
        lived, seen = 0.0, time.monotonic()
        while not self._closed.wait(1):
            machines = machines_of(self._twin)
            lived, seen = lived + len(machines) * (time.monotonic() - seen), time.monotonic()
            if lived > SPOT_SECONDS and machines:
                machines[self.taken % len(machines)].kill()
                self.taken, lived = self.taken + 1, 0.0


def profile(*, labelled: bool) -> dict[str, object]:
    """Placement of one core a node; on the twin each stage has its group."""
    placed = {
        "corpus": "cpu", "pack": "cpu", "backbone": "cpu", "train": "train", "evaluate": "embed", "serve": "serve",
    }  # fmt: skip
    stages: dict[str, object] = {
        stage: {"workers": 1, "cpus": 1, **({"labels": {"group": group}} if labelled else {})}
        for stage, group in placed.items()
    }
    training = {
        "workers": 0,
        "checkpoint_steps": CHECKPOINT_STEPS,
        **({"labels": {"group": "train"}} if labelled else {}),
    }
    serving = {"cpus": 0.1, **({"labels": {"group": "serve"}} if labelled else {})}
    limits = {name: {"machines": machines, "cpus": cpus} for name, (cpus, machines) in GROUPS.items()}
    return stages | {"name": "three", "train": training, "serve": serving, **({"groups": limits} if labelled else {})}


def arguments(folder: Path, name: str) -> list[str]:
    """Recipe, profile and storage of a run."""
    placed = ["--profile", str(folder / f"{name}.yaml"), "--set", f"storage={folder / name}"]
    return [str(folder / "three.yaml"), *placed]


def one_after_another(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "polyglossa.cli", "run", *arguments(folder, "narrow"), "--until", "train"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def at_work(root: Path, stage: str) -> list[Path]:
    """Artifacts of a stage in the making: their leases are held."""
    return [lease for lease in root.glob(f"leases/{stage}.*.json") if not committed(root, stage, lease)]


def committed(root: Path, stage: str, lease: Path) -> bool:
    name = lease.name.rpartition(".")[0].rpartition(".")[0]
    return (root / "artifacts" / stage / name / "COMMITTED").exists()


def checkpoints(root: Path) -> list[Path]:
    return list(root.glob("checkpoints/*/*"))


def driver_of(node: str, twin: LocalCluster) -> psutil.Process | None:
    """The worker process that runs a node's task: Ray gives it the task's name."""
    found = processes_with(f"ray::{node}")
    return next((process for process in found if os.getsid(process.pid) == twin.session), None)


def run_of(recipe: Path) -> psutil.Process | None:
    """The run's own process: a submitted job has a session of its own, and the recipe lies where no other does."""
    return next(iter(processes_with(str(recipe))), None)


def processes_with(word: str) -> list[psutil.Process]:
    """Processes, shells apart, one of whose words begins with this one."""
    found = psutil.process_iter(["cmdline"])
    commands = {process: process.info["cmdline"] or [""] for process in found}
    return [
        process
        for process, command in commands.items()
        if any(part.startswith(word) for part in command) and not command[0].endswith("sh")
    ]


def content(root: Path) -> dict[str, str]:
    """Hash of every file of data of every artifact; manifests tell times."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.glob("artifacts/*/*/**/*"))
        if path.is_file() and path.suffix in (".parquet", ".safetensors", ".arrow")
    }


def timeline(root: Path) -> dict[str, int]:
    """What the ledger says of the last invocation."""
    entry: dict[str, int] = json.loads((root / "invocations.json").read_text())[-1]
    return entry
