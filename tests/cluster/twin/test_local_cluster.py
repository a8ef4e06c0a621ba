"""Autoscaling for real: the spec's groups as nodes of this machine, Ray's own autoscaler, jobs that need a token."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from cluster.schemas import ROOT
from cluster.twin.jobs import PROFILE, RAY, SMALL_RECIPE, environment, machines_of, submit
from pipeline.tiny import RECIPE
from polyglossa.cluster.local_cluster import LocalCluster, local_cluster_config, running_local_cluster
from polyglossa.cluster.spec import load_spec

SPEC = load_spec(ROOT / "cluster" / "spec.yaml")


def test_the_twin_has_the_specs_groups_within_their_limits() -> None:
    config = local_cluster_config(SPEC, "127.0.0.1:6379", 5)
    types = config["available_node_types"]
    assert set(types) == {"ray.head.default", *SPEC.groups}
    for name, group in SPEC.groups.items():
        assert types[name]["labels"]["group"] == name
        assert types[name]["max_workers"] <= group.max
    assert types["ray.head.default"]["resources"] == {"CPU": 0}
    assert config["idle_timeout_minutes"] == pytest.approx(5 / 60)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("recipes") / "small.yaml"
    path.write_text(SMALL_RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def twin() -> Iterator[LocalCluster]:
    with running_local_cluster(SPEC, idle_seconds=4) as started:
        yield started
    assert not [process for process in psutil.process_iter() if _session(process) == started.session]
    assert not Path(started.folder).exists()


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid) if process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None


@pytest.mark.slow
def test_groups_grow_when_asked_for_and_leave_when_idle(twin: LocalCluster) -> None:
    script = str(Path(__file__).with_name("watch_nodes.py"))
    done = subprocess.run(
        [sys.executable, script, "cpu:2", "embed:1"],
        env=environment(twin),
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    log = seen["log"]
    assert seen["ran"] == [["cpu", "cpu"], ["embed"]]
    assert log[0] == log[-1] == {"head": 1}
    assert max(counts.get("cpu", 0) for counts in log) == 2
    assert max(counts.get("embed", 0) for counts in log) == 1
    first = {group: next(i for i, counts in enumerate(log) if group in counts) for group in ("cpu", "embed")}
    assert first["cpu"] < first["embed"]
    assert not any(group in counts for counts in log for group in ("train", "serve"))


@pytest.mark.slow
@pytest.mark.parametrize("token", ["", "0" * 64])
def test_without_the_right_token_nothing_is_submitted(twin: LocalCluster, tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token)
    refused = submit(twin, "python", "-c", "print('in')", RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert refused.returncode != 0
    assert "uthentication" in refused.stderr + refused.stdout


@pytest.mark.slow
def test_a_recipe_that_is_wrong_fails_with_its_reason(twin: LocalCluster) -> None:
    failed = submit(twin, "python", "jobs/corpus.py", RECIPE, "--set", "nonsense=1")
    assert failed.returncode != 0
    assert "nonsense: unknown key" in failed.stdout
    assert "failed with exit code 2" in failed.stdout


@pytest.mark.slow
def test_two_jobs_at_once_end_well_and_do_not_disturb_each_other(
    twin: LocalCluster, small: str, tmp_path: Path
) -> None:
    def run(name: str) -> subprocess.CompletedProcess:
        return submit(twin, "python", "jobs/corpus.py", small, *PROFILE, "--set", f"storage={tmp_path}/{name}")

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(run, ("first", "second")))
    assert [done.returncode for done in ended] == [0, 0], ended[0].stdout[-2000:]
    assert all("succeeded" in done.stdout for done in ended), "the log is followed to its end"
    manifests = [next(tmp_path.glob(f"{name}/*/artifacts/corpus/*/manifest.json")) for name in ("first", "second")]
    first, second = (json.loads(manifest.read_text()) for manifest in manifests)
    assert (first["hash"], first["counts"]) == (second["hash"], second["counts"])
    package = next(Path(twin.folder, "ray").glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*/"))
    size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    print(f"uploaded working_dir: {size / 1024:.0f} KiB")
    assert size < 2 << 20
    assert not (package / ".git").exists()
    assert not (package / "tests").exists()


@pytest.mark.slow
def test_a_stopped_job_leaves_a_run_that_goes_on(twin: LocalCluster, small: str, tmp_path: Path) -> None:
    command = ("python", "jobs/corpus.py", small, *PROFILE, "--set", f"storage={tmp_path}")
    started = submit(twin, *command, options=("--no-wait", "--submission-id", "stopped"))
    assert started.returncode == 0, started.stderr
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/logs/*.log")) and time.monotonic() < deadline:
        time.sleep(0.2)
    stop = [RAY, "job", "stop", "stopped"]
    subprocess.run(stop, env=environment(twin), capture_output=True, timeout=60, check=True)
    assert not list(tmp_path.glob("*/artifacts/corpus/*/COMMITTED"))
    again = submit(twin, *command)
    assert again.returncode == 0, again.stdout[-2000:]
    assert list(tmp_path.glob("*/artifacts/corpus/*/COMMITTED"))


@pytest.mark.slow
def test_a_lost_worker_node_does_not_lose_the_stage(twin: LocalCluster, small: str, tmp_path: Path) -> None:
    command = ("python", "jobs/corpus.py", small, *PROFILE, "--set", f"storage={tmp_path}")
    assert submit(twin, *command, options=("--no-wait", "--submission-id", "hurt")).returncode == 0
    deadline = time.monotonic() + 90
    while not (nodes := machines_of(twin)) and time.monotonic() < deadline:
        time.sleep(0.2)
    nodes[0].send_signal(signal.SIGKILL)
    status = ""
    while not status and time.monotonic() < deadline + 120:
        ask = [RAY, "job", "status", "hurt"]
        listed = subprocess.run(ask, env=environment(twin), capture_output=True, text=True, timeout=60, check=True)
        status = next((end for end in ("SUCCEEDED", "FAILED") if end in listed.stdout.upper()), "")
    assert status == "SUCCEEDED"
    assert list(tmp_path.glob("*/artifacts/corpus/*/COMMITTED"))


@pytest.mark.slow
def test_a_lost_node_under_the_endpoint_costs_no_request(twin: LocalCluster, tmp_path: Path) -> None:
    script = str(Path(__file__).with_name("serve_on_local_cluster.py"))
    command = [sys.executable, script, str(tmp_path / "model")]
    done = subprocess.run(command, env=environment(twin), capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["failed"] == []
    assert seen["answered"] > 50
    assert len(set(seen["before"]) & set(seen["after"])) == 1
