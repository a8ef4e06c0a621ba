"""Watch a worker group from the driver: progress, warnings, checkpoints for evaluations, causes of failures."""

import threading
from collections.abc import Sequence
from typing import Any

import ray

from polyglossa.engine.online_evaluation import Evaluations
from polyglossa.engine.train_run import TrainRun
from polyglossa.errors import PolyglossaError, TrainingError
from polyglossa.runtime.console import Bar, say, say_once, track

_POLL_SECONDS = 1.0


def watch_group(runs: Sequence[TrainRun], board: Any, fitting: threading.Thread, evaluations: Evaluations) -> None:
    """Show each run's progress, and what it warns of, until the worker group is done."""
    shown = 0
    for run in runs:
        with track(run.name, total=run.total_steps, unit="steps") as bar:
            _follow(run, board, fitting, bar, evaluations)
        warnings = ray.get(board.warnings.remote(shown))
        shown += len(warnings)
        for text in warnings:
            say(text, style="yellow")
    fitting.join()


def _follow(run: TrainRun, board: Any, fitting: threading.Thread, bar: Bar, evaluations: Evaluations) -> None:
    seen = told = noted = 0
    while fitting.is_alive() and not run.finished:
        fitting.join(_POLL_SECONDS)
        notes = ray.get(board.notes.remote(noted))
        noted += len(notes)
        for text in notes:
            say_once(text)
        done, note = ray.get(board.read.remote())[0].get(run.name, (0, ""))
        bar.advance(done - seen)
        bar.note(note)
        seen = done
        evaluations.trained(run.name, done)
        committed = ray.get(board.committed.remote(told))
        told += len(committed)
        for name, step in committed:
            evaluations.committed(name, step)
    if run.finished:
        evaluations.finished(run.name)


def explain_failure(error: BaseException) -> BaseException:
    """Turn Ray Train's error into one line that names the cause."""
    failures = getattr(error, "worker_failures", None) or {}
    cause: BaseException = next(iter(failures.values()), error)
    while cause.__cause__ is not None and not isinstance(cause, PolyglossaError):
        cause = cause.__cause__
    found = getattr(cause, "cause", None) or cause
    if isinstance(found, PolyglossaError):
        return type(found)(str(found))
    lines = str(found).strip().splitlines() or [""]
    return TrainingError(f"training failed: {type(found).__name__}: {lines[-1][:300]}. The log has the whole story.")
