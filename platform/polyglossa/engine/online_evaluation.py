"""Evaluate a run's models while it trains: export, evaluate one after another, record. No Ray here.

    <checkpoints>/evaluated/00000200/model/        what the checkpoint after 200 updates holds, as a model directory
    <checkpoints>/evaluated/00000200/EXPORTED      written after it; from now on the checkpoint may go
    <checkpoints>/evaluated/00000200/scores.json   written last: what was found, or why nothing was

Training never waits for any of it. A model is judged as soon as that takes nothing from the worker group, and at the
latest after the last run, when the driver waits for what is left. An evaluation that fails is told and noted.
"""

import posixpath
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from polyglossa.artifact import clear, exists, place_json, read_json
from polyglossa.engine.checkpoints.checkpoint_index import committed_steps, files_of
from polyglossa.engine.train_run import TrainRun
from polyglossa.recipe.placement import StagePlacement, TrackingConfig
from polyglossa.runtime.console import say, track, unseen

_FOLDER, _EXPORTED, _SCORES = "evaluated", "EXPORTED", "scores.json"
_POLL_SECONDS = 0.5

Evaluate = Callable[[TrainRun, int, str, str], Mapping[str, Any]]
"""(run, updates made, model directory, folder for its own files) → `mean`, `tasks` (mean by name) and `failed` (reason
by name). Raises what it likes."""


@dataclass(frozen=True)
class Evaluator:
    """Who judges models beside a training, and what that takes."""

    evaluate: Evaluate
    placement: StagePlacement


def evaluation_folder(run: TrainRun, step: int) -> str:
    """Folder of what belongs to the evaluation after `step` updates."""
    return posixpath.join(run.checkpoint_uri, _FOLDER, f"{step:08d}")


def awaits_export(run: TrainRun, step: int) -> bool:
    """Whether a checkpoint must stay, because its model is still to be taken out of it."""
    there = (exists(posixpath.join(evaluation_folder(run, step), mark)) for mark in (_EXPORTED, _SCORES))
    return run.evaluated_after(step) and not any(there)


def read_evaluations(run: TrainRun) -> list[dict[str, Any]]:
    """Read what was noted of a run's evaluations, in the order of their steps."""
    noted = [posixpath.join(evaluation_folder(run, step), _SCORES) for step in _started_steps(run)]
    return [read_json(scores) for scores in noted if exists(scores)]


def _started_steps(run: TrainRun) -> list[int]:
    """Steps of which a model was exported or a score noted."""
    return sorted(int(posixpath.basename(place)) for place in files_of(posixpath.join(run.checkpoint_uri, _FOLDER)))


class Evaluations:
    """Evaluations of some runs, each begun in the order in which its model was there; two threads do the work."""

    def __init__(
        self,
        runs: Sequence[TrainRun],
        evaluate: Evaluate,
        *,
        export: Callable[[TrainRun, int, str], None],
        aside: Callable[[], bool],
        tracking: TrackingConfig,
    ) -> None:
        """Take up what an interrupted training left to be evaluated.

        Args:
            runs: those that are evaluated; what is told of others is passed over.
            evaluate: evaluates a model directory.
            export: (run, updates made, address) → the checkpoint's model directory is there.
            aside: whether an evaluation finds resources that the training never needs.
            tracking: where scores can be watched.
        """
        self._runs = {run.name: run for run in runs}
        self._evaluate, self._export, self._aside, self._tracking = evaluate, export, aside, tracking
        self._trained = dict.fromkeys(self._runs, 0)
        self._known: set[tuple[str, int]] = set()
        self._noted: list[tuple[str, int]] = []
        self._over, self._abandoned = threading.Event(), threading.Event()
        self._exports: SimpleQueue[tuple[TrainRun, int] | None] = SimpleQueue()
        self._models: SimpleQueue[tuple[TrainRun, int] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._export_all, self._evaluate_all)]
        for run in runs:
            self._look(run)
        for thread in self._threads:
            thread.start()

    def trained(self, name: str, done: int) -> None:
        """Note how far a run is: records say between which of its steps an evaluation took place."""
        self._trained[name] = done

    def committed(self, name: str, step: int) -> None:
        """Take a checkpoint into account; a worker group that started anew may tell the same one again."""
        run = self._runs.get(name)
        if run is None or not run.evaluated_after(step) or (name, step) in self._known:
            return
        self._known.add((name, step))
        if exists(posixpath.join(evaluation_folder(run, step), _SCORES)):
            self._noted.append((name, step))
        else:
            self._exports.put((run, step))

    def finished(self, name: str) -> None:
        """Take a run's final model into account, and checkpoints of which no word came."""
        run = self._runs.get(name)
        if run is None:
            return
        self.trained(name, run.total_steps)
        self._look(run)
        self.committed(name, run.total_steps)

    def wait(self) -> None:
        """Let all that is left be judged, now that no training needs the resources, and return when it is noted."""
        self._over.set()
        self._exports.put(None)
        before = len(self._noted)
        with track("evaluate checkpoints", total=len(self._known) - before, unit="models") as bar:
            while any(thread.is_alive() for thread in self._threads):
                self._threads[-1].join(_POLL_SECONDS)
                bar.advance(len(self._noted) - before - bar.done)

    def abandon(self) -> None:
        """Begin nothing more and note nothing more: the training failed; what is missing is made when it resumes."""
        self._abandoned.set()
        self._over.set()
        self._exports.put(None)

    def _look(self, run: TrainRun) -> None:
        """Take into account what lies in storage; the last model counts only once its run has written it."""
        for step in sorted({*committed_steps(run.checkpoint_uri), *_started_steps(run)} - {run.total_steps}):
            self.committed(run.name, step)

    def _export_all(self) -> None:
        for run, step in iter(self._exports.get, None):
            if self._abandoned.is_set():
                continue
            try:
                if awaits_export(run, step) and step < run.total_steps:
                    clear(evaluation_folder(run, step))
                    self._export(run, step, posixpath.join(evaluation_folder(run, step), "model"))
                    place_json(posixpath.join(evaluation_folder(run, step), _EXPORTED), {"step": step})
                self._models.put((run, step))
            except Exception as error:
                self._note(run, step, {"reason": _reason(error)})
        self._models.put(None)

    def _evaluate_all(self) -> None:
        for run, step in iter(self._models.get, None):
            while not (self._over.is_set() or self._aside()):
                self._over.wait(_POLL_SECONDS)
            if not self._abandoned.is_set():
                self._evaluate_one(run, step)

    def _evaluate_one(self, run: TrainRun, step: int) -> None:
        place, last = evaluation_folder(run, step), step == run.total_steps
        model = posixpath.join(run.output_uri if last else place, "model")
        began, started = self._trained[run.name], time.monotonic()
        try:
            with unseen():
                own_files = posixpath.join(run.output_uri if last else place, "judged")
                found = dict(self._evaluate(run, step, model, own_files))
        except Exception as error:
            found = {"reason": _reason(error)}
        seconds = round(time.monotonic() - started, 3)
        self._note(run, step, {"trained": [began, self._trained[run.name]], "seconds": seconds, **found})

    def _note(self, run: TrainRun, step: int, found: Mapping[str, Any]) -> None:
        """Keep what was found, and say what was not."""
        if self._abandoned.is_set():
            return
        failed = {"": found["reason"]} if "reason" in found else {f", {k}": v for k, v in found["failed"].items()}
        for task, reason in failed.items():
            say(f"{run.name}: not evaluated after step {step}{task}: {reason}", style="yellow")
        try:
            place_json(posixpath.join(evaluation_folder(run, step), _SCORES), {"step": step, **found})
            clear(posixpath.join(evaluation_folder(run, step), "model"))
            if "reason" not in found:
                self._watch(run, step, {"mean": found["mean"], **found["tasks"]})
        except Exception as error:
            say(f"{run.name}: scores after step {step} are not kept or not shown: {_reason(error)}", style="yellow")
        self._noted.append((run.name, step))

    def _watch(self, run: TrainRun, step: int, scores: Mapping[str, float | None]) -> None:
        """Show scores where the run can be watched; as a run of their own, for two processes cannot write to one."""
        from polyglossa.engine.trackers import open_trackers  # loads torch, as the loop does

        tracking = open_trackers(self._tracking, f"{run.name}.evaluation")
        tracking.log(step, {f"evaluation/{task}": score for task, score in scores.items() if score is not None})
        tracking.close()


def _reason(error: Exception) -> str:
    """Say an error in one line; one that came from another process brings its cause along."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
