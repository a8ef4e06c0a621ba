"""Run training on a Ray Train worker group: one worker's side.

Every rank opens its feeds and trains the runs in turn; rank 0 tells the driver's board how far they are.
"""

import os
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import get_device

from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.engine.callbacks import DivergedError
from polyglossa.engine.checkpoints.checkpoint_index import latest
from polyglossa.engine.train_run import Compute, TrainRun
from polyglossa.engine.trainer import train
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.train.feed import rank_batches

# oneDNN keeps a kernel and its buffers for each shape it has met, 1,024 by default: over a gigabyte of a CPU worker.
_KERNELS_KEPT = "24"


def work(config: dict[str, Any]) -> None:
    """Train the runs as one worker of the group.

    Args:
        config: `runs` as plain values, `placement`, the `board` actor, and the cluster's number of `nodes`.
    """
    placement: TrainPlacement = config["placement"]
    board = config["board"]
    torch.set_num_threads(placement.threads)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS_KEPT)
    context = ray.train.get_context()
    place, world = context.get_world_rank(), context.get_world_size()
    compute = Compute.of(placement, zero=placement.zero, device=str(get_device()))
    leaving = _Leaving() if config["nodes"] > 1 else _stays
    runs = [TrainRun(**plain) for plain in config["runs"]]
    feeds = _Feeds(place, world)
    for run, following in zip_longest(runs, runs[1:]):
        tell, warn, committed, note = (partial(say, board, run.name) for say in _SAYS) if place == 0 else _SILENT
        try:
            train(run, compute, feeds.opener(run, following), tell, warn, committed, leaving, note=note)
        except DivergedError as error:
            # Every rank meets it at the same step; returning keeps the failure policy from trying again.
            if place == 0:
                ray.get(board.stop.remote(f"{run.name}: {error}"))
            return


class _Feeds:
    """Opens a rank's feeds; the next run's one step early, for its first batch takes seconds to come."""

    def __init__(self, place: int, world: int) -> None:
        self._place, self._world = place, world
        self._opened: dict[str, PrefetchedBatches] = {}

    def opener(self, run: TrainRun, following: TrainRun | None) -> Callable[[int], PrefetchedBatches]:
        """Return what opens a run's feed at its first step, and then the following run's."""

        def opened(start: int) -> PrefetchedBatches:
            batches = self._opened.pop(run.name, None) or self._open(run, start)
            if following is not None and not following.finished:
                self._opened[following.name] = self._open(following, latest(following.checkpoint_uri))
            return batches

        return opened

    def _open(self, run: TrainRun, start: int) -> PrefetchedBatches:
        shard = ray.train.get_dataset_shard(run.name)
        return PrefetchedBatches(rank_batches(shard, rank=self._place, world=self._world, start=start))


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


def _committed(board: Any, name: str, step: int) -> None:
    board.commit.remote(name, step)


def _note(board: Any, name: str, text: str) -> None:
    board.note.remote(text)


def _silent(*_: object) -> None:
    """Only rank 0 speaks."""


_SAYS, _SILENT = (_tell, _warn, _committed, _note), (_silent,) * 4
