"""Protects a long curation from machines: a SIGKILL of the driver or of a worker costs the unfinished pieces alone."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).with_name("interrupted_curation.py")
PLATFORM = Path(__file__).parents[2] / "platform"
FILES, ROWS = 10, 12_000
WHILE_READING, WHILE_COMPARING = 4, FILES + 6  # pieces done: of ten files; of the steps that drop duplicates

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten files with duplicates and near-duplicates between them."""
    folder, drawn = tmp_path_factory.mktemp("data"), random.Random(0)
    words = ["".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(4000)]
    rows = [
        {"query": " ".join(drawn.choices(words, k=9)), "passage": " ".join(drawn.choices(words, k=60))}
        for _ in range(ROWS)
    ]
    rows += [*rows[:500], *({**row, "query": row["query"].upper()} for row in rows[500:800])]
    for part in range(FILES):
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows[part::FILES])))
    source = {"kind": "pairs", "name": "a", "task": "retrieval", "language": "eng", "files": [f"{folder}/*.jsonl"]}
    path = folder / "settings.json"
    path.write_text(json.dumps({"sources": [source], "near_duplicates": {}}))
    return path


@pytest.fixture(scope="module")
def undisturbed(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("undisturbed")
    return finish(start(settings, root), root)


def start(settings: Path, root: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(PLATFORM), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(settings), str(root)]
    with log_of(root).open("a") as log:
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )


def log_of(root: Path) -> Path:
    return root / "log.txt"


def finish(run: "subprocess.Popen[str]", root: Path) -> dict[str, str]:
    """Wait for a run; return the content of every file of its artifact but the manifest, which holds times."""
    said, _ = run.communicate(timeout=200)
    assert run.returncode == 0, log_of(root).read_text()[-2000:]
    made = Path(said.split()[-1])
    files = sorted(path for path in made.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(made)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pieces(root: Path) -> dict[str, float]:
    """Committed pieces of work and when each was; the run that ends clears them while they are listed."""
    found: dict[str, float] = {}
    for path in root.glob("artifacts/corpus/*.work/*/*.json"):
        with suppress(FileNotFoundError):
            found[str(path)] = path.stat().st_mtime_ns
    return found


def wait_for(root: Path, count: int, run: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while len(pieces(root)) < count:
        assert run.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < deadline, "no piece of work was committed in time"
        time.sleep(0.01)


def kill_all(run: "subprocess.Popen[str]") -> None:
    """SIGKILL the driver, then what is left of its Ray."""
    below = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGKILL)
    run.wait()
    for process in below:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.mark.parametrize("when", [WHILE_READING, WHILE_COMPARING])
def test_a_killed_driver_goes_on_with_the_unfinished_pieces(
    settings: Path, undisturbed: dict[str, str], tmp_path: Path, when: int
) -> None:
    run = start(settings, tmp_path)
    wait_for(tmp_path, when, run)
    kill_all(run)
    done = pieces(tmp_path)
    again = start(settings, tmp_path)
    kept: dict[str, float] = {}
    while again.poll() is None:
        now = pieces(tmp_path)
        kept = now if len(now) >= len(kept) else kept
        time.sleep(0.05)
    assert len(kept) > len(done) >= when
    assert {path: kept[path] for path in done} == done, "a finished piece was done again"
    assert finish(again, tmp_path) == undisturbed


def busy_workers(run: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Workers that run a task of Ray Data now; Ray names them after what they do."""
    found = []
    for process in psutil.Process(run.pid).children(recursive=True):
        with suppress(psutil.Error):
            if "(_do)" in " ".join(process.cmdline()[:1]):
                found.append(process)
    return found


def test_a_killed_worker_is_replaced(settings: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    run = start(settings, tmp_path)
    wait_for(tmp_path, 2, run)
    deadline = time.monotonic() + 30
    while not (busy := busy_workers(run)):
        assert time.monotonic() < deadline, "no worker was at work"
        time.sleep(0.01)
    busy[0].kill()
    assert finish(run, tmp_path) == undisturbed
