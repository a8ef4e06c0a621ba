"""Whole processes that benchmarks start: what they see, how long they take, and what is told meanwhile."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def environment() -> dict[str, str]:
    """Environment of every process: no hub, no threads behind a tokenizer, this repository's package."""
    paths = [str(ROOT), str(ROOT / "platform"), os.environ.get("PYTHONPATH", "")]
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def polyglossa(command: str) -> list[str]:
    """Start of a command line."""
    return [sys.executable, "-m", "polyglossa.cli", command]


def timed(command: Iterable[Any], folder: Path = ROOT) -> tuple[float, str]:
    """Run a process in a folder; its seconds and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(list(map(str, command)), env=environment(), stdout=subprocess.PIPE, text=True, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout[-2000:]}")
    return time.perf_counter() - started, done.stdout


def say(text: str) -> None:
    """Tell how far the run is."""
    print(text, file=sys.stderr, flush=True)
