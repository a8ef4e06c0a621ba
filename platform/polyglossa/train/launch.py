"""Run training on a Ray Train worker group: the driver's side. What each worker does is in `group.py`.

    fit([run_a, run_b], placement, storage)

One worker group trains consecutive runs, because starting a group costs about 20 seconds. A group that loses a worker
is started anew (Ray Train's failure policy) and each run goes on from its own last checkpoint; a run that diverged is
not tried again, for it would diverge again.
"""

import hashlib
import posixpath
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from polyglossa.artifact import clear
from polyglossa.engine.checkpoints.checkpoint_index import LatestSteps
from polyglossa.engine.online_evaluation import Evaluations, Evaluator
from polyglossa.engine.train_run import TrainRun
from polyglossa.errors import PolyglossaError, TrainingError
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.runtime.console import Bar, say, say_once, track
from polyglossa.runtime.progress_board import start_progress_board
from polyglossa.train.feed import StepDataConfig, placeholder_datasets
from polyglossa.train.group import work
from polyglossa.train.in_process import fit_in_process
from polyglossa.train.online_evaluation_ray import start_evaluations

_POLL_SECONDS = 0.5


def fit(runs: Sequence[TrainRun], placement: TrainPlacement, storage: str, evaluator: Evaluator | None = None) -> None:
    """Train runs one after another in one worker group; Ray is initialised.

    Args:
        runs: what is trained; results lie under each run's `output_uri`.
        placement: workers, ZeRO stage, memory and failure settings.
        storage: folder for Ray Train's own notes, shared by all nodes; cleared afterwards.
        evaluator: judges models beside the training; None where no run is evaluated.

    Raises:
        TrainingError: a run diverged, or the worker group failed more often than allowed.
    """
    evaluations = start_evaluations(runs, placement, evaluator)
    try:
        if placement.workers == 0:
            fit_in_process(runs, placement, evaluations)
        else:
            _fit_group(runs, placement, storage, evaluations)
        evaluations.wait()
    except BaseException:
        evaluations.abandon()
        raise


def _fit_group(runs: Sequence[TrainRun], placement: TrainPlacement, storage: str, evaluations: Evaluations) -> None:
    board = start_progress_board()
    notes = posixpath.join(storage, f"ray-train-{_digest(runs)}")
    clear(notes)  # a killed driver's: Ray Train would go on from them, and not from our checkpoints
    trainer = _trainer(runs, placement, notes, board)
    failure: list[BaseException] = []
    # In a thread of its own Ray Train leaves SIGINT alone: Ctrl-C reaches the driver, which takes Ray down with it.
    fitting = threading.Thread(target=_fit, args=(trainer, failure), daemon=True)
    fitting.start()
    try:
        _watch(runs, board, fitting, evaluations)
        stopped = ray.get(board.read.remote())[1]
    finally:
        ray.kill(board)
        clear(notes)
    if stopped:
        raise TrainingError(stopped)
    if failure:
        raise _explain(failure[0])
    unfinished = [run.name for run in runs if not run.finished]
    if unfinished:
        raise TrainingError(f"{', '.join(unfinished)}: training was aborted. Start again: it resumes by itself.")


def _digest(runs: Sequence[TrainRun]) -> str:
    """Name a group by what it trains, so that whoever takes its work up finds what was left."""
    places = "\n".join(run.checkpoint_uri for run in runs)
    return hashlib.blake2b(places.encode(), digest_size=8).hexdigest()


def _trainer(runs: Sequence[TrainRun], placement: TrainPlacement, notes: str, board: Any) -> TorchTrainer:
    gpu = placement.gpus > 0
    resources = {"CPU": placement.cpus} | ({"GPU": placement.gpus} if gpu else {})
    return TorchTrainer(
        work,
        train_loop_config={
            "runs": [asdict(run) for run in runs],
            "placement": placement,
            "board": board,
            "nodes": len(ray.nodes()),
        },
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(placement.min_workers, placement.workers) if placement.min_workers else placement.workers,
            use_gpu=gpu,
            resources_per_worker=resources,
            label_selector=placement.labels or None,
        ),
        run_config=RunConfig(
            name=posixpath.basename(notes),
            storage_path=posixpath.dirname(notes),
            failure_config=FailureConfig(max_failures=placement.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
        datasets=placeholder_datasets([run.name for run in runs]),
        dataset_config=StepDataConfig(
            {run.name: run.feed() for run in runs}, LatestSteps({run.name: run.checkpoint_uri for run in runs})
        ),
    )


def _fit(trainer: TorchTrainer, failure: list[BaseException]) -> None:
    try:
        trainer.fit()
    except BaseException as error:
        failure.append(error)


def _watch(runs: Sequence[TrainRun], board: Any, fitting: threading.Thread, evaluations: Evaluations) -> None:
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


def _explain(error: BaseException) -> BaseException:
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
