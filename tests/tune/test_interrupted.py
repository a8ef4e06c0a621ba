"""Protects searches that last for days: a killed driver and killed students cost what they were doing, no more."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from polyglossa.tune.journal import Journal
from tune.toy_search import write_recipe

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {"searcher": "random", "trials": 3, "rungs": {"first": 2}}
PATIENCE_SECONDS = 400.0


def start(folder: Path, workers: int = 2, **settings: Any) -> subprocess.Popen[str]:
    """Start a search's driver."""
    path = write_recipe(folder, **SETTINGS | settings)
    paths = f"{ROOT / 'platform'}:{ROOT / 'tests'}"
    return subprocess.Popen(
        [sys.executable, "-m", "tune.toy_search", str(path), str(workers)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(folder: Path, **settings: Any) -> dict[str, Any]:
    """Run a search to its end; give what it found."""
    run = start(folder, **settings)
    out, _ = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 0, out
    return found(folder)


def found(folder: Path) -> dict[str, Any]:
    outcome: dict[str, Any] = json.loads(next(folder.glob("runs/toy/artifacts/tune/*/trials.json")).read_text())
    return outcome


def journal(folder: Path) -> Journal | None:
    folders = list(folder.glob("runs/toy/tune/*/trials-journal"))
    return Journal(str(folders[0])) if folders else None


def wait_for_ended(folder: Path, count: int, run: subprocess.Popen[str]) -> None:
    """Wait until so many trials have ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert run.poll() is None, "the search ended before it was killed"
        known = journal(folder)
        if known and sum(record.state != "running" for record in known.trials()) >= count:
            return
        time.sleep(0.2)
    raise AssertionError("no trial ended")


def states(outcome: dict[str, Any]) -> list[tuple[int, Any, str]]:
    return [(trial["number"], trial["values"], trial["state"]) for trial in outcome["trials"]]


def scores(outcome: dict[str, Any]) -> list[list[float]]:
    return [[rung["score"] for rung in trial["rungs"]] for trial in outcome["trials"]]


def test_a_search_whose_driver_is_killed_ends_with_the_same_finished_trials(tmp_path: Path) -> None:
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    folder.mkdir()
    whole = finish(undisturbed)
    run = start(folder)
    wait_for_ended(folder, 1, run)
    orphans = list(_students(run))
    run.kill()
    run.wait()
    _gone, alive = psutil.wait_procs(orphans, timeout=60)
    assert not alive
    before = journal(folder)
    assert before is not None
    done = {record.number: record for record in before.trials() if record.state != "running"}
    assert 1 <= len(done) < 3
    taken_up = finish(folder)
    assert states(taken_up) == states(whole)
    assert scores(taken_up) == scores(whole)
    after = journal(folder)
    assert after is not None
    for number, record in done.items():
        assert after.trial(number) == record, "a trial that had ended was run again"


def test_a_killed_student_is_tried_again_and_one_that_dies_again_and_again_fails_with_its_reason(
    tmp_path: Path,
) -> None:
    run = start(tmp_path, workers=1, trials=2)
    # Two retries: the first trial's three students die, the second trial's second lives.
    killed = [_kill_a_student(run) for _ in range(4)]
    out, _ = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 0, out
    assert len(set(killed)) == 4
    first, second = found(tmp_path)["trials"]
    assert (first["state"], second["state"]) == ("failed", "finished")
    assert "died" in first["reason"].lower()


def _kill_a_student(run: subprocess.Popen[str]) -> int:
    """Kill a process that holds a student, as the kernel does when memory runs out."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert run.poll() is None, "the search ended before a student was killed"
        for student in _students(run):
            student.kill()
            student.wait(30)
            return student.pid
        time.sleep(0.1)
    raise AssertionError("no student was seen")


def _students(run: subprocess.Popen[str]) -> Iterator[psutil.Process]:
    for process in psutil.Process(run.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "ray::Student" in "".join(process.cmdline()):
                yield process


def test_a_population_trains_through_its_generations(tmp_path: Path) -> None:
    space = {"training.distil.learning_rate": {"loguniform": [1e-4, 1e-2]}}
    outcome = finish(tmp_path, trials=3, scheduler="pbt", space=space)
    assert [trial["number"] for trial in outcome["trials"]] == [0, 1, 2]
    for trial in outcome["trials"]:
        assert trial["state"] == "finished"
        assert [rung["step"] for rung in trial["rungs"]] == [2, 4, 8]
        assert trial["rungs"][-1]["parameters"] > 0
    known = journal(tmp_path)
    assert known is not None
    starts = [record.start for record in known.trials()]
    assert starts[:3] == [None] * 3
    assert set(starts[3:6]) < {0, 1, 2}, "one of three goes on from another"
    assert not list(tmp_path.rglob("kept"))
