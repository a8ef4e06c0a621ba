"""How tests submit to the twin: as a user does, with the token and the uploaded working directory."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

from cluster.schemas import ROOT
from polyglossa.cluster.local_cluster import LocalCluster

Found = TypeVar("Found")

RAY = str(Path(sys.executable).with_name("ray"))
PROFILE = ("--profile", "cluster/profiles/twin.yaml")
SMALL_RECIPE = """
name: tiny
corpus:
  sources: [{kind: pydoc}]
training:
  stage1: {global_batch: 64, steps: 300, max_tokens: 64, learning_rate: 1.0e-3, warmup_steps: 10, dtype: float32}
members:
  - name: base
    backbone:
      shape: {hidden: 32, mlp: 64, layers: 2, heads: 2, kv_heads: 1, head_dim: 16}
      tokenizer: {vocabulary: 1000}
      max_tokens: 64
    stages: [stage1]
evaluate: {heldout: [pydoc]}
"""


def environment(twin: LocalCluster, **changes: str) -> dict[str, str]:
    """What a process needs to reach the twin, and no other Ray."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RAY_ADDRESS")}
    return plain | twin.environment | changes


def submit(
    twin: LocalCluster, *command: str, options: tuple[str, ...] = (), seconds: float = 300, **changes: str
) -> subprocess.CompletedProcess:
    """Submit a job and wait for it, unless an option says not to; `changes` are of the environment."""
    return subprocess.run(
        [RAY, "job", "submit", "--runtime-env", "cluster/job-env.yaml", *options, "--", *command],
        cwd=ROOT,
        env=environment(twin, **changes),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def log(twin: LocalCluster, job: str) -> str:
    """What a job said last."""
    ask = [RAY, "job", "logs", job]
    return subprocess.run(ask, env=environment(twin), capture_output=True, text=True, timeout=120).stdout[-3000:]


def until(condition: Callable[[], Found], told: Callable[[], str] = lambda: "", seconds: float = 420) -> Found:
    """Wait for something that is true, and return it; `told` says what went on where it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, told() or "it never came"
        time.sleep(0.2)
    return found


def machines_of(twin: LocalCluster) -> list[psutil.Process]:
    """Raylets of the twin that are not its head."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or [""]
        with suppress(ProcessLookupError):
            if command[0].endswith("raylet/raylet") and "--head" not in command:
                found += [process] if os.getsid(process.pid) == twin.session else []
    return found
