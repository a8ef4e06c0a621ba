"""Protects the calm terminal: other libraries' chatter goes to a log file, our own lines to the person."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from polyglossa.runtime import console
from polyglossa.runtime.console import Bar

SCRIPT = """
import os, sys
from pathlib import Path
from polyglossa.runtime.console import open_console, say, track
with open_console(Path(sys.argv[1])):
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


def test_nothing_is_said_of_the_time_left_before_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    bar = Bar("train", 260, "steps")
    bar.advance(0)  # a worker that has only said that it is there
    now += 117
    bar.advance(1)  # the first step waits for everything to start
    now += 30
    assert "left" not in bar.line()
    bar.advance(1)
    assert "left" not in bar.line()
    now += 6
    bar.advance(4)
    assert "1829 s left" in bar.line()


def test_a_line_that_stands_there_already_is_not_said_again(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from polyglossa.runtime.console import open_console, say_once\n"
        "with open_console(Path(sys.argv[1])): say_once('in float32'); say_once('in float32'); say_once('in bfloat16')"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "run.log")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["in float32", "in bfloat16"]


class Kept:
    """A relay that keeps what it is handed."""

    def __init__(self) -> None:
        self.said: list[tuple[str, bool]] = []
        self.shown: list[list[str]] = []

    def say(self, text: str, style: str | None, once: bool) -> None:
        self.said.append((text, once))

    def show(self, lines: Sequence[str]) -> None:
        self.shown.append(list(lines))


def test_a_process_without_a_terminal_hands_on_what_it_says_and_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_SHOW_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(console, "_RELAY_SECONDS", 0.01)
    kept = Kept()
    with console.relay_to(kept):
        console.say("hello")
        console.say_once("twice")
        console.say_once("twice")
        with console.track("mine", total=4, unit="rows") as bar:
            bar.advance(2)
            deadline = time.monotonic() + 5
            while not kept.shown and time.monotonic() < deadline:
                time.sleep(0.01)
    assert kept.said == [("hello", False), ("twice", True)]
    assert "mine" in kept.shown[0][0]
    console.say("nobody hears")
    assert len(kept.said) == 2
