"""Protects shared storage for whole runs: started at the same time, they make each artifact once, and all end well."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipeline.tiny import RECIPE, ROOT, overrides

# Ray's two agents tell the head for 60 s, a constant of their source, that their raylet was killed, and end after it
# (ray/_private/process_watcher.py, utils.publish_error_to_driver); everything else ends within two seconds.
AGENTS_SECONDS = 60 + 30


def start(storage: Path, *more: str) -> subprocess.Popen[str]:
    """Start a run up to the corpus; Ctrl-C reaches it even where the tests run in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "polyglossa.cli", "run", RECIPE, *overrides(str(storage)), "--until", "corpus", *more],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def holder_and_waiter(storage: Path) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Start two runs at once; return the one that makes the corpus, then the one that waits for it."""
    runs = {run.pid: run for run in (start(storage), start(storage))}
    deadline = time.monotonic() + 120
    while len(line := in_line(storage)) < 2:
        assert time.monotonic() < deadline, "no two runs stand in line for the corpus"
        time.sleep(0.05)
    first, second = (runs[pid] for pid in line)
    return first, second


def in_line(storage: Path) -> list[int]:
    """Processes that hold the corpus's lease or wait for it, in order."""
    claims = []
    for path in storage.glob("*/leases/corpus-*.json"):
        with suppress(OSError, ValueError):  # it is being written, or left
            claims.append(json.loads(path.read_text()))
    return [
        claim["pid"] for claim in sorted(claims, key=lambda one: (one["ticket"], one["claim_id"])) if claim["ticket"]
    ]


def made(storage: Path) -> int:
    """How often the corpus was made, by the run's ledger."""
    (ledger,) = storage.glob("*/invocations.json")
    return sum(entry["made"].count("corpus") for entry in json.loads(ledger.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("apart", [0, 1, 5, 20])
def test_two_runs_on_one_storage_make_the_corpus_once(tmp_path: Path, apart: float) -> None:
    first = start(tmp_path)
    time.sleep(apart)
    second = start(tmp_path)
    ended = [run.communicate(timeout=300)[0] for run in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), ended
    assert len(list(tmp_path.glob("*/artifacts/corpus/*/COMMITTED"))) == 1
    assert made(tmp_path) == 1
    assert not list(tmp_path.glob("*/leases/*"))
    assert not list(tmp_path.glob("*/artifacts/corpus/*.work"))


@pytest.mark.slow
def test_where_the_holder_is_killed_the_one_that_waits_takes_over(tmp_path: Path) -> None:
    first, second = holder_and_waiter(tmp_path)
    family = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait()
    told, _ = second.communicate(timeout=300)
    assert second.returncode == 0, told
    assert len(list(tmp_path.glob("*/artifacts/corpus/*/COMMITTED"))) == 1
    assert made(tmp_path) == 1
    third = start(tmp_path)
    assert "unchanged" in third.communicate(timeout=300)[0]
    assert third.returncode == 0
    assert psutil.wait_procs(family, timeout=AGENTS_SECONDS)[1] == []


@pytest.mark.slow
def test_ctrl_c_and_sigterm_end_a_run_that_waits_as_well_as_one_that_works(tmp_path: Path) -> None:
    first, second = holder_and_waiter(tmp_path)
    for run, sent in ((second, signal.SIGTERM), (first, signal.SIGINT)):
        family = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(sent)
        told, _ = run.communicate(timeout=120)
        assert run.returncode == 130, told
        assert "run the same command again" in told
        assert psutil.wait_procs(family, timeout=30)[1] == []
    assert not list(tmp_path.glob("*/leases/*"))
    assert not list(tmp_path.glob("*/artifacts/corpus/*/COMMITTED"))
