"""Spot nodes are taken away again and again: the run ends all the same, and what it made is the same to the byte."""

import hashlib
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml

from cluster.schemas import ROOT
from cluster.specs import changed
from cluster.twin.jobs import RAY, SMALL_RECIPE, environment, submit
from polyglossa.cluster.local_cluster import LocalCluster, running_local_cluster

LIMIT_SECONDS = 560
NODES = 5
NODE_SECONDS = 60
"""Seconds that nodes live, added up, before one is taken: of five nodes one every 12 seconds. A run of the twin lasts
about a minute, so a fifth of its nodes goes five times as often as in the promise."""


@pytest.mark.slow
def test_a_fifth_of_the_nodes_taken_away_again_and_again_changes_nothing(tmp_path: Path) -> None:
    spec = changed(groups={"cpu": {"twin": {"cpus": 1, "max": NODES}}})
    profile = yaml.safe_load((ROOT / "cluster/profiles/twin.yaml").read_text())
    profile |= {"corpus": {"workers": NODES, "cpus": 1, "labels": {"group": "cpu"}}}
    profile |= {"pack": profile["corpus"], "train": {"workers": 0, "cpus": 1}}
    (tmp_path / "spot.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / "tiny.yaml").write_text(SMALL_RECIPE.replace("steps: 300", "steps: 40"))
    seconds, taken = {}, 0
    for name in ("calm", "spot"):
        command = [
            "python", "jobs/pipeline.py", str(tmp_path / "tiny.yaml"), "--profile", str(tmp_path / "spot.yaml"),
            "--set", f"storage={tmp_path}/{name}",
        ]  # fmt: skip
        with running_local_cluster(spec, idle_seconds=60) as twin:
            began = time.monotonic()
            assert submit(twin, *command, options=("--no-wait", "--submission-id", name)).returncode == 0
            lived, seen = 0.0, began
            while (status := _status(twin, name)) not in ("SUCCEEDED", "FAILED"):
                assert time.monotonic() < began + LIMIT_SECONDS, _log(twin, name)
                nodes = _spot_nodes(twin)
                lived, seen = lived + len(nodes) * (time.monotonic() - seen), time.monotonic()
                if name == "spot" and lived > NODE_SECONDS and nodes:
                    nodes[taken % len(nodes)].kill()
                    taken, lived = taken + 1, 0.0
                time.sleep(1)
            seconds[name] = time.monotonic() - began
            assert status == "SUCCEEDED", _log(twin, name)
    print(f"calm {seconds['calm']:.0f} s, with {taken} nodes taken {seconds['spot']:.0f} s")
    assert taken >= 2
    assert _content(tmp_path / "calm") == _content(tmp_path / "spot")


def _status(twin: LocalCluster, name: str) -> str:
    ask = [RAY, "job", "status", name]
    said = subprocess.run(ask, env=environment(twin), capture_output=True, text=True, timeout=120, check=False).stdout
    return next((end for end in ("SUCCEEDED", "FAILED") if end in said.upper()), "")


def _log(twin: LocalCluster, name: str) -> str:
    ask = [RAY, "job", "logs", name]
    return subprocess.run(ask, env=environment(twin), capture_output=True, text=True, timeout=120).stdout[-3000:]


def _spot_nodes(twin: LocalCluster) -> list[psutil.Process]:
    """Raylets of the twin that are not its head."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            ours = os.getsid(process.pid) == twin.session
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
        command = process.info["cmdline"] or [""]
        if ours and command[0].endswith("raylet/raylet") and "--head" not in command:
            found.append(process)
    return found


def _content(root: Path) -> dict[str, str]:
    """Hash of every file of every artifact, manifests apart: those tell times."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.glob("*/artifacts/*/*/**/*"))
        if path.is_file() and path.suffix in (".parquet", ".safetensors", ".arrow")
    }
