"""The check on the twin: nothing to say of a good one; each planted fault is found and named."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.schemas import ROOT
from cluster.twin.check_nodes import OTHER_VERSION
from cluster.twin.jobs import environment, submit
from polyglossa.cluster.local_cluster import LocalCluster, running_local_cluster
from polyglossa.cluster.spec import load_spec

SPEC = load_spec(ROOT / "cluster" / "spec.yaml")
TWIN = str(ROOT / "cluster" / "profiles" / "twin.yaml")


@pytest.fixture(scope="module")
def twin() -> Iterator[LocalCluster]:
    with running_local_cluster(SPEC, idle_seconds=120) as started:
        yield started


def check(twin: LocalCluster, storage: str, profile: str = TWIN, *options: str) -> subprocess.CompletedProcess:
    """Run the check as a driver beside the twin."""
    command = [sys.executable, "-m", "polyglossa.cli", "cluster", "check", "--profile", profile, "--storage", storage]
    own = environment(twin, PYTHONPATH=str(ROOT / "platform"))
    return subprocess.run(
        [*command, *options], cwd=ROOT, env=own, capture_output=True, text=True, timeout=400, check=False
    )


@pytest.mark.slow
def test_a_good_twin_has_nothing_to_say_from_beside_it_and_as_a_job(twin: LocalCluster, tmp_path: Path) -> None:
    done = check(twin, str(tmp_path))
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checks, all well" in done.stdout
    for group in ("cpu", "train", "embed", "serve"):
        assert f" {group} " in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is left on the storage"
    inside = submit(
        twin, "python", "-m", "polyglossa.cli", "cluster", "check", "--profile", "cluster/profiles/twin.yaml",
        "--storage", str(tmp_path), "--no-start-nodes", "--folder", str(ROOT / "cluster"),
    )  # fmt: skip
    assert "checks, all well" in inside.stdout, inside.stdout[-2000:]


@pytest.mark.slow
def test_another_ray_on_a_node_is_found_and_named(twin: LocalCluster, tmp_path: Path) -> None:
    own = environment(twin, PYTHONPATH=str(ROOT / "platform"))
    script = str(Path(__file__).with_name("check_nodes.py"))
    odd = subprocess.Popen(
        [sys.executable, script, twin.address], env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert odd.stdout
        assert odd.stdout.readline().strip() == "up"
        done = check(twin, str(tmp_path))
    finally:
        odd.communicate("", timeout=60)
    assert done.returncode == 1
    assert f"{OTHER_VERSION} on 1" in done.stdout, done.stdout
    assert "FAIL  Ray, one version" in done.stdout


@pytest.mark.slow
def test_storage_that_cannot_be_written_is_found_and_named(twin: LocalCluster) -> None:
    done = check(twin, "/proc/polyglossa", TWIN, "--no-start-nodes")
    assert done.returncode == 1
    assert "FAIL  storage" in done.stdout
    assert "cannot write" in done.stdout


@pytest.mark.slow
def test_a_group_too_small_for_the_profile_is_found_and_named(twin: LocalCluster, tmp_path: Path) -> None:
    profile = yaml.safe_load(Path(TWIN).read_text())
    profile["corpus"]["cpus"] = 8
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(profile))
    done = check(twin, str(tmp_path), str(tmp_path / "large.yaml"), "--wait-seconds", "25")
    assert done.returncode == 1
    assert "corpus on cpu" in done.stdout
    assert "no node with 8 CPUs came within 25 s" in done.stdout
