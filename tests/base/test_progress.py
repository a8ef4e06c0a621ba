"""Protects the calm terminal: other libraries' chatter goes to a log file, our own lines to the person."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from polyglossa.progress import Bar

SCRIPT = """
import os, sys
from pathlib import Path
from polyglossa.progress import console, say, track
with console(Path(sys.argv[1])):
    print("chatter")
    os.system("echo deeper chatter >&2")
    with track("work", total=2) as bar:
        bar.advance(2)
    say("said")
print("after")
"""


def test_chatter_goes_to_the_log_and_what_is_said_to_the_terminal(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "run.log"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(log)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["said", "after"]
    assert done.stderr == ""
    assert sorted(log.read_text().split("\n")[:2]) == ["chatter", "deeper chatter"]


def test_time_left_counts_neither_the_start_nor_what_an_earlier_run_had_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bar = Bar("train", 100, "steps")
    now += 60  # workers start, and go on from step 80
    bar.advance(81)
    assert "left" not in bar.line()
    now += 10
    bar.advance(5)
    assert "0.5 steps/s    28 s left" in bar.line()
