"""Protects promise 6 and the two commands: a whole run, scaled down, ends the same wherever it runs and if interrupted.

The undisturbed run is a submitted job on the twin of the cluster, each stage on its group of nodes, and its storage is
a bucket: nothing lies on a disk that nodes share. The interrupted one runs on this machine and keeps to its disk. Both
take the processor for one that emulates bfloat16, as many are; other tests run as it is (tests/capacity).
"""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.fs as pafs
import pytest

from cluster.schemas import ROOT
from cluster.twin.jobs import PROFILE, submit
from pipeline.tiny import AVX2, RECIPE, overrides, start
from polyglossa.artifact import open_storage, read_json
from polyglossa.cluster.local_cluster import LocalCluster, running_local_cluster
from polyglossa.cluster.spec import load_spec
from s3 import loopback_s3

pytestmark = pytest.mark.slow

SEARCH = f"""
extends: {ROOT / RECIPE}
tune:
  member: small
  searcher: random
  scheduler: none
  trials: 2
  rungs: {{first: 2}}
  space: {{members.small.learning_rate: {{loguniform: [1.0e-4, 1.0e-2]}}}}
"""


@pytest.fixture(scope="module", autouse=True)
def old_processor() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AVX2.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with loopback_s3() as uri:
        yield uri


@pytest.fixture(scope="module")
def twin(old_processor: None, bucket: str) -> Iterator[LocalCluster]:
    with running_local_cluster(load_spec(ROOT / "cluster" / "spec.yaml"), idle_seconds=4) as started:
        yield started


def submitted(twin: LocalCluster, bucket: str, command: str = "jobs/pipeline.py", recipe: str = RECIPE) -> None:
    job = submit(twin, "python", command, recipe, *PROFILE, *overrides(f"{bucket}/runs"), seconds=1200)
    assert job.returncode == 0, job.stdout[-4000:]


@pytest.fixture(scope="module")
def undisturbed(twin: LocalCluster, bucket: str) -> str:
    """Root of a run that was submitted."""
    submitted(twin, bucket)
    return f"{bucket}/runs/quickstart"


def test_a_submitted_run_ends_with_results_a_report_and_a_checked_endpoint(undisturbed: str) -> None:
    results = read_json(f"{undisturbed}/results.json")
    assert set(results["members"]) == {"base", "small"}
    assert len(results["members"]["base"]["cldr_accuracy_by_language"]) >= 200
    assert results["members"]["small"]["without_distillation"] is not None
    found = files(undisturbed)
    (check,) = (path for path in found if path.endswith("check.json"))
    assert min(read_json(check)["least_cosine"].values()) >= 0.9999
    artifact, page = sorted((path for path in found if path.endswith("report.html")), key=lambda path: found[path].size)
    assert "/artifacts/report/" in artifact
    assert page == f"{undisturbed}/report.html"
    assert found[artifact].size > 10_000
    timeline = [path for path in found if "/timelines/" in path]
    assert {stay["name"] for stay in read_json(timeline[0])} >= {"corpus", "serve"}
    committed = {path.rpartition("/")[0] for path in found if path.endswith("/COMMITTED")}
    assert {path.rpartition("/")[0] for path in found if path.endswith("/manifest.json")} == committed
    told = [read_json(path) for path in found if "/train/" in path and path.endswith("/model/model_meta.json")]
    assert len(told) == 4
    assert all({"cldr", "pydoc"} <= set(meta["kept_out"]) for meta in told)


def test_a_run_of_an_old_processor_says_so_in_its_manifests(undisturbed: str) -> None:
    manifests = [read_json(path) for path in files(undisturbed) if path.endswith("/manifest.json")]
    computing = [one for one in manifests if one["stage"] in ("train", "mine", "distill", "evaluate", "serve")]
    assert len(computing) == 11
    assert {one["precision"]["dtype"] for one in computing} == {"float32"}
    assert {one["precision"]["requested"] for one in computing if one["stage"] == "train"} == {"bfloat16"}
    (vectors,) = (one for one in computing if one["name"] == "distill.base.base.stage2")
    assert vectors["config"]["dtype"] == "bfloat16", "the address is that of every processor"


def test_a_second_submission_makes_nothing(undisturbed: str, twin: LocalCluster, bucket: str) -> None:
    before = times(f"{undisturbed}/artifacts")
    submitted(twin, bucket)
    assert times(f"{undisturbed}/artifacts") == before


def test_interrupted_runs_leave_no_half_artifact_and_no_process_and_end_the_same(
    undisturbed: str, tmp_path: Path
) -> None:
    root = str(tmp_path / "quickstart")
    for sent, seconds in ((signal.SIGINT, 12), (signal.SIGTERM, 45), (signal.SIGINT, 80)):
        run = start(str(tmp_path))
        time.sleep(seconds)
        family = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
        run.send_signal(sent)
        out, err = run.communicate(timeout=120)
        assert run.returncode in (0, 130), out + err
        _gone, alive = psutil.wait_procs(family, timeout=30)
        assert not alive
        assert_committed(root)
    run = start(str(tmp_path))
    out, err = run.communicate(timeout=900)
    assert run.returncode == 0, out + err
    assert out.count("bfloat16 is emulated there") == 1
    assert_committed(root)
    assert keys(root) == keys(undisturbed)
    assert results(root) == results(undisturbed)


def test_a_submitted_search_takes_what_the_run_made(
    undisturbed: str, twin: LocalCluster, bucket: str, tmp_path: Path
) -> None:
    """Last of all: it adds to what the runs are compared by."""
    recipe = tmp_path / "search.yaml"
    recipe.write_text(SEARCH)
    before = times(f"{undisturbed}/artifacts")
    submitted(twin, bucket, "jobs/tune.py", str(recipe))
    after = times(f"{undisturbed}/artifacts")
    assert {path: after[path] for path in before} == before
    (outcome,) = (path for path in after if path.endswith("/trials.json"))
    made = {path.removeprefix(f"{undisturbed}/artifacts/").partition("/")[0] for path in after.keys() - before}
    assert made == {"tune"}
    assert [trial["state"] for trial in read_json(outcome)["trials"]] == ["finished"] * 2


def files(root: str) -> dict[str, pafs.FileInfo]:
    """What lies under a place, by URI."""
    filesystem, path = open_storage(root)
    listed = filesystem.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    scheme = "s3://" if root.startswith("s3://") else ""
    return {f"{scheme}{one.path}": one for one in listed if one.type == pafs.FileType.File}


def keys(root: str) -> dict[str, str]:
    """Key of every artifact by its name."""
    manifests = [read_json(path) for path in files(root) if path.endswith("/manifest.json")]
    return {manifest["name"]: manifest["key"] for manifest in manifests}


def times(root: str) -> dict[str, str]:
    """When every file was written."""
    return {path: str(file.mtime) for path, file in files(root).items()}


def assert_committed(root: str) -> None:
    """What has a manifest is whole."""
    found = files(root)
    manifests = [path.rpartition("/")[0] for path in found if path.endswith("/manifest.json")]
    assert all(f"{folder}/COMMITTED" in found for folder in manifests)


def results(root: str) -> dict[str, Any]:
    """Results without what a run's machine decides."""
    found = read_json(f"{root}/results.json")
    return {name: value for name, value in found.items() if name not in ("wall_seconds", "peak_memory_gib")}
