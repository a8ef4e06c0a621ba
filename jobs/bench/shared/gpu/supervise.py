"""Run phases in a child process, each boxed in time, with the figures written after every one of them.

A phase that raises is reported and the next one runs. One that hangs, or leaves the GPU in a state from which a process
does not come back (an illegal access), costs its child: another goes on with the next phase. Standard library only.

The figures: `{"phases": {NAME: {…}}}`, where a phase holds what it returned and `phase_seconds`, or `error`, or
`skipped`.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
BROKEN = 17
"""Exit status of a child whose GPU is of no more use."""
_RUNNING = "running_since"
_LEAST_SECONDS = 5.0


@dataclass(frozen=True)
class Phase:
    """One measurement."""

    name: str
    seconds: float
    """Longest it may take."""
    run: Callable[[], Json]


class Missing(Exception):
    """A phase cannot run here, and why."""


class Figures:
    """The JSON file; parent and child write it in turn."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Json:
        """Return what is there."""
        return dict(json.loads(self.path.read_text())) if self.path.exists() else {"phases": {}}

    def put(self, phase: str, figures: Json) -> None:
        """Keep a phase's figures; a reader finds the old file or the new one, never half of it."""
        data = self.read()
        data["phases"][phase] = figures
        self.write(data)

    def write(self, data: Json) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".writing")
        fresh.write_text(json.dumps(data, indent=1))
        os.replace(fresh, self.path)


def run_phases(
    phases: Sequence[Phase], figures: Figures, *, ends: float, say: Callable[[str], None], works: Callable[[], bool]
) -> None:
    """Run phases in this process, one after another; called in the child.

    Args:
        phases: what is measured.
        figures: gets each phase's figures when it is done.
        ends: time.time() after which no phase begins.
        say: gets one line a phase.
        works: whether the device still answers after a phase that failed.
    """
    for phase in phases:
        began = time.time()
        if ends - began < _LEAST_SECONDS:
            figures.put(phase.name, {"skipped": "no time was left"})
            continue
        figures.put(phase.name, {_RUNNING: began})
        try:
            found = phase.run()
        except Missing as reason:
            found = {"skipped": str(reason)}
        except BaseException as error:
            lines = str(error).strip().splitlines() or [""]
            found = {"error": f"{type(error).__name__}: {lines[0][:300]}", "trace": traceback.format_exc()[-2000:]}
        seconds = round(time.time() - began, 1)
        figures.put(phase.name, {**found, "phase_seconds": seconds})
        say(line(phase.name, {**found, "phase_seconds": seconds}))
        if "error" in found and not works():
            sys.exit(BROKEN)


def supervise(
    phases: Sequence[Phase], figures: Figures, command: Callable[[Sequence[str]], list[str]], *, ends: float
) -> None:
    """Start children until every phase has run, was skipped or has failed; called in the parent.

    Args:
        phases: what is measured.
        figures: the file that children write.
        command: names of phases → command of the child that runs them.
        ends: time.time() at which everything is over.
    """
    left = [phase.name for phase in phases]
    boxes = {phase.name: phase.seconds for phase in phases}
    while left:
        child = subprocess.Popen(command(left))
        reason = _watch(child, figures, boxes, ends)
        done = figures.read()["phases"]
        began = next((name for name in left if _RUNNING in done.get(name, {})), None)
        if began is not None:
            figures.put(began, {"error": reason})
            print(line(began, {"error": reason}), flush=True)
        elif not any(name in done for name in left):
            figures.put(left[0], {"error": f"{reason}, before it began"})
        done = figures.read()["phases"]
        left = [name for name in left if name not in done]
        if left and time.time() >= ends:
            for name in left:
                figures.put(name, {"skipped": "no time was left"})
            return


def _watch(child: "subprocess.Popen[bytes]", figures: Figures, boxes: dict[str, float], ends: float) -> str:
    """Wait for a child, and end one whose phase takes longer than its box; returns how it ended."""
    while child.poll() is None:
        time.sleep(0.2)
        now = time.time()
        running = {name: found[_RUNNING] for name, found in figures.read()["phases"].items() if _RUNNING in found}
        late = next((name for name, began in running.items() if now - began > boxes.get(name, 0.0)), None)
        if late is not None or now > ends:
            child.kill()
            child.wait()
            return f"took longer than {boxes[late]:.0f} s" if late is not None else "the time of the session was over"
    return f"its process ended with status {child.returncode}"


def line(name: str, figures: Json) -> str:
    """One line for a person."""
    return f"{name}  {json.dumps({key: value for key, value in figures.items() if key != 'trace'})}"
