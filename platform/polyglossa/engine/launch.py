"""Run training on a Ray Train worker group: the one engine file, with feed.py, that knows Ray.

    fit([run_a, run_b], placement, storage)

One worker group trains consecutive runs, because starting a group costs about 20 seconds. A group that loses a worker
is started anew (Ray Train's failure policy) and each run goes on from its own last checkpoint; a run that diverged is
not tried again, for it would diverge again.
"""

import os
import posixpath
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import zip_longest
from typing import Any, cast

import ray
import ray.train
import torch
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from polyglossa.artifact import clear
from polyglossa.engine.ahead import BatchesAhead
from polyglossa.engine.board import Board
from polyglossa.engine.callbacks import DivergedError
from polyglossa.engine.feed import StepDataConfig, placeholder_datasets, rank_batches
from polyglossa.engine.here import fit_here
from polyglossa.engine.position import LatestSteps, latest
from polyglossa.engine.runs import Compute, TrainRun
from polyglossa.engine.worker import train
from polyglossa.errors import PolyglossaError, TrainingError
from polyglossa.progress import Bar, say, track
from polyglossa.recipe.placement import TrainPlacement

_POLL_SECONDS = 0.5
# oneDNN keeps a kernel and its buffers for each shape it has met, 1,024 by default: over a gigabyte of a CPU worker.
_KERNELS_KEPT = "24"


def fit(runs: Sequence[TrainRun], placement: TrainPlacement, storage: str) -> None:
    """Train runs one after another in one worker group; Ray is initialised.

    Args:
        runs: what is trained; results lie under each run's `output_uri`.
        placement: workers, ZeRO stage, memory and failure settings.
        storage: folder for Ray Train's own notes, shared by all nodes; cleared afterwards.

    Raises:
        TrainingError: a run diverged, or the worker group failed more often than allowed.
    """
    if placement.workers == 0:
        fit_here(runs, placement)
        return
    board = start_board()
    notes = posixpath.join(storage, f"ray-train-{uuid.uuid4().hex[:8]}")
    trainer = _trainer(runs, placement, notes, board)
    failure: list[BaseException] = []
    # In a thread of its own Ray Train leaves SIGINT alone: Ctrl-C reaches the driver, which takes Ray down with it.
    fitting = threading.Thread(target=_fit, args=(trainer, failure), daemon=True)
    fitting.start()
    try:
        _watch(runs, board, fitting)
        stopped = ray.get(board.read.remote())[1]
    finally:
        ray.kill(board)
        clear(notes)
    if stopped:
        raise TrainingError(stopped)
    if failure:
        raise _explained(failure[0])
    unfinished = [run.name for run in runs if not run.finished]
    if unfinished:
        raise TrainingError(f"{', '.join(unfinished)}: training was aborted. Start again: it resumes by itself.")


def start_board() -> Any:
    """Start the actor that workers report to, on the driver's own node: a lost worker node must not take it along."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return cast(Any, ray.remote(num_cpus=0, scheduling_strategy=here)(Board)).remote()


def _trainer(runs: Sequence[TrainRun], placement: TrainPlacement, notes: str, board: Any) -> TorchTrainer:
    gpu = placement.gpus > 0
    resources = {"CPU": placement.cpus} | ({"GPU": placement.gpus} if gpu else {})
    return TorchTrainer(
        _work,
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


def _work(config: dict[str, Any]) -> None:
    """What each worker runs."""
    placement: TrainPlacement = config["placement"]
    board = config["board"]
    torch.set_num_threads(placement.threads)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS_KEPT)
    context = ray.train.get_context()
    place, world = context.get_world_rank(), context.get_world_size()
    compute = Compute(
        zero=placement.zero,
        resident_tokens=placement.resident_tokens,
        checkpoint_steps=placement.checkpoint_steps,
        keep_checkpoints=placement.keep_checkpoints,
        tracking=placement.tracking,
        device=str(get_device()),
        gradient_checkpointing=placement.gradient_checkpointing,
    )
    leaving = _Leaving() if config["nodes"] > 1 else _stays
    runs = [TrainRun(**plain) for plain in config["runs"]]
    feeds = _Feeds(place, world)
    for run, following in zip_longest(runs, runs[1:]):
        tell, warn = (partial(_tell, board, run.name), partial(_warn, board, run.name)) if place == 0 else _SILENT
        try:
            train(run, compute, feeds.opener(run, following), tell, warn, leaving)
        except DivergedError as error:
            # Every rank meets it at the same step; returning keeps the failure policy from trying again.
            if place == 0:
                ray.get(board.stop.remote(f"{run.name}: {error}"))
            return


class _Feeds:
    """Opens a rank's feeds; the next run's one step early, for its first batch takes seconds to come."""

    def __init__(self, place: int, world: int) -> None:
        self._place, self._world = place, world
        self._opened: dict[str, BatchesAhead] = {}

    def opener(self, run: TrainRun, following: TrainRun | None) -> Callable[[int], BatchesAhead]:
        """Return what opens a run's feed at its first step, and then the following run's."""

        def opened(start: int) -> BatchesAhead:
            batches = self._opened.pop(run.name, None) or self._open(run, start)
            if following is not None and not following.finished:
                self._opened[following.name] = self._open(following, latest(following.checkpoint_uri))
            return batches

        return opened

    def _open(self, run: TrainRun, start: int) -> BatchesAhead:
        shard = ray.train.get_dataset_shard(run.name)
        return BatchesAhead(rank_batches(shard, rank=self._place, world=self._world, start=start))


class _Leaving:
    """Tells once that a node of the group is about to be reclaimed; asked every few steps, for asking is a barrier."""

    _EVERY = 10

    def __init__(self) -> None:
        self._told = False

    def __call__(self, done: int) -> bool:
        if self._told or done % self._EVERY:
            return False
        self._told = ray.train.get_preemption_info() is not None
        return self._told


def _stays(done: int) -> bool:
    """One machine has nobody to take it away."""
    return False


def _tell(board: Any, name: str, done: int, note: str) -> None:
    board.tell.remote(name, done, note)


def _warn(board: Any, name: str, text: str) -> None:
    board.warn.remote(f"{name}: {text}")


def _silent(*_: object) -> None:
    """Only rank 0 speaks."""


_SILENT = (_silent, _silent)


def _fit(trainer: TorchTrainer, failure: list[BaseException]) -> None:
    try:
        trainer.fit()
    except BaseException as error:
        failure.append(error)


def _watch(runs: Sequence[TrainRun], board: Any, fitting: threading.Thread) -> None:
    """Show each run's progress, and what it warns of, until the worker group is done."""
    shown = 0
    for run in runs:
        with track(run.name, total=run.total_steps, unit="steps") as bar:
            _follow(run, board, fitting, bar)
        warnings = ray.get(board.warnings.remote(shown))
        shown += len(warnings)
        for text in warnings:
            say(text, style="yellow")
    fitting.join()


def _follow(run: TrainRun, board: Any, fitting: threading.Thread, bar: Bar) -> None:
    seen = 0
    while fitting.is_alive() and not run.finished:
        fitting.join(_POLL_SECONDS)
        done, note = ray.get(board.read.remote())[0].get(run.name, (0, ""))
        bar.advance(done - seen)
        bar.note(note)
        seen = done


def _explained(error: BaseException) -> BaseException:
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
