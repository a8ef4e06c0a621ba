"""Give a rank of a worker group what the engine asks for: feeds, news of nodes that leave, reports to the driver."""

from collections.abc import Callable
from functools import partial
from typing import Any

import ray
import ray.train

from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.engine.checkpoints.checkpoint_index import latest
from polyglossa.engine.train_run import TrainRun
from polyglossa.train.feed import rank_batches

Report = Callable[..., None]


class Feeds:
    """Opens a rank's feeds; the next run's one step early, for its first batch takes seconds to come."""

    def __init__(self, place: int, world: int, device: str) -> None:
        self._place, self._world, self._device = place, world, device
        self._opened: dict[str, PrefetchedBatches] = {}

    def open(self, run: TrainRun, following: TrainRun | None, start: int) -> PrefetchedBatches:
        """Open a run's feed at its first step, and then the following run's."""
        batches = self._opened.pop(run.name, None) or self._open(run, start)
        if following is not None and not following.finished:
            self._opened[following.name] = self._open(following, latest(following.checkpoint_uri))
        return batches

    def _open(self, run: TrainRun, start: int) -> PrefetchedBatches:
        shard = ray.train.get_dataset_shard(run.name)
        batches = rank_batches(shard, rank=self._place, world=self._world, start=start)
        return PrefetchedBatches(batches, device=self._device)


class Leaving:
    """Tells once that a node of the group is about to be reclaimed; asked every few steps, for asking is a barrier."""

    _EVERY = 10

    def __init__(self) -> None:
        self._told = False

    def __call__(self, done: int) -> bool:
        """Return whether a node leaves, once."""
        if self._told or done % self._EVERY:
            return False
        self._told = ray.train.get_preemption_info() is not None
        return self._told


def stays(done: int) -> bool:
    """One machine has nobody to take it away."""
    return False


def reports(board: Any, name: str, *, rank: int) -> tuple[Report, Report, Report, Report]:
    """Return what tells the driver's board of a run's steps, warnings, checkpoints and notes; only rank 0 speaks."""
    if rank != 0:
        return _silent, _silent, _silent, _silent
    tell, warn, committed, note = (partial(one, board, name) for one in (_tell, _warn, _committed, _note))
    return tell, warn, committed, note


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
