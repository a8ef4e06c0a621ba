"""Protects promise 6 and the two commands: a whole run, scaled down, interrupted at any point, ends the same."""

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from pipelines.tiny import start

pytestmark = pytest.mark.slow


def finish(storage: Path) -> dict[str, str]:
    """Run to the end; give the key of every artifact."""
    run = start(str(storage))
    out, err = run.communicate(timeout=900)
    assert run.returncode == 0, out + err
    manifests = [json.loads(path.read_text()) for path in storage.rglob("manifest.json")]
    assert all((path.parent / "COMMITTED").exists() for path in storage.rglob("manifest.json"))
    return {manifest["name"]: manifest["key"] for manifest in manifests}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("undisturbed")
    finish(storage)
    return storage


def test_a_run_ends_with_results_a_report_and_a_checked_endpoint(undisturbed: Path) -> None:
    results = json.loads((undisturbed / "quickstart/results.json").read_text())
    assert set(results["members"]) == {"base", "small"}
    assert len(results["members"]["base"]["cldr_accuracy_by_language"]) >= 200
    assert results["members"]["small"]["without_distillation"] is not None
    check = json.loads(next(undisturbed.rglob("check.json")).read_text())
    assert min(check["least_cosine"].values()) >= 0.9999
    assert next(undisturbed.rglob("report.html")).stat().st_size > 10_000
    told = [json.loads(path.read_text()) for path in undisturbed.glob("*/artifacts/train/*/model/model_meta.json")]
    assert len(told) == 4
    assert all({"cldr", "pydoc"} <= set(meta["kept_out"]) for meta in told)


def test_interrupted_runs_leave_no_half_artifact_and_no_process_and_end_the_same(
    undisturbed: Path, tmp_path: Path
) -> None:
    for sent, seconds in ((signal.SIGINT, 12), (signal.SIGTERM, 45), (signal.SIGINT, 80)):
        run = start(str(tmp_path))
        time.sleep(seconds)
        family = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
        run.send_signal(sent)
        out, err = run.communicate(timeout=120)
        assert run.returncode in (0, 130), out + err
        _gone, alive = psutil.wait_procs(family, timeout=30)
        assert not alive
        for manifest in tmp_path.rglob("manifest.json"):
            assert (manifest.parent / "COMMITTED").exists()
    keys = finish(tmp_path)
    assert keys == {m["name"]: m["key"] for m in map(json.loads, _manifests(undisturbed))}
    assert _results(tmp_path) == _results(undisturbed)


def _manifests(storage: Path) -> list[str]:
    return [path.read_text() for path in storage.rglob("manifest.json")]


def _results(storage: Path) -> dict[str, object]:
    results = json.loads((storage / "quickstart/results.json").read_text())
    return {name: value for name, value in results.items() if name not in ("wall_seconds", "peak_memory_gib")}
