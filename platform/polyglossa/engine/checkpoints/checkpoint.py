"""Canonical training checkpoints: free of world size and ZeRO stage, no pickle.

    <root>/step-00000200/parameters/<name>.safetensors    weight, exp_avg, exp_avg_sq: whole tensors, master precision
    <root>/step-00000200/position.json                    step = updates made so far; where the plan goes on
    <root>/step-00000200/written-0                        rank 0 has written its share; one mark a rank
    <root>/step-00000200/COMMITTED                        written last; without it the folder is no checkpoint
    <root>/metrics/00000000-00000200.jsonl                one line a step, written before the checkpoint that covers it

Every rank writes its share of the parameters. Nothing else is state: order, negatives and dropout follow the step.
"""

import itertools
import json
import posixpath
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Protocol

import pyarrow.fs as pafs
import safetensors.torch as safetensors

from polyglossa.artifact import MARKER, clear, exists, open_storage, read_json, write_json
from polyglossa.engine.backends.backend import ParameterState, ReadState
from polyglossa.engine.checkpoints.checkpoint_index import committed_steps, files_of, step_folder
from polyglossa.errors import ArtifactError
from polyglossa.runtime.collectives import barrier, rank, world_size

_GRACE_SECONDS = 10.0
_SEGMENT = re.compile(r"(\d{8})-(\d{8})\.jsonl$")


class Checkpointed(Protocol):
    """What a backend offers to be saved and restored; every method is a collective."""

    def states(self) -> Iterator[tuple[str, ParameterState]]:
        """Yield every parameter's state by name."""

    def restore(self, read: ReadState, step: int) -> None:
        """Take over every parameter's state."""


class Writer:
    """Writes checkpoints while training goes on: weights are copied at once, storage is left to a thread.

    Every rank writes its share and then a mark of its own; rank 0 commits when all marks are there. So no collective
    runs beside the step's, and a checkpoint whose writer died is never committed.
    """

    def __init__(
        self,
        root: str,
        *,
        keep: int,
        awaited: Callable[[int], bool] = lambda step: False,
        committed: Callable[[int], None] = lambda step: None,
    ) -> None:
        """Set what happens to checkpoints.

        Args:
            root: folder of the run's checkpoints.
            keep: how many of the newest stay besides the best.
            awaited: step → whether somebody has still to read its checkpoint, which stays until then.
            committed: gets the step of each checkpoint once it is whole, on rank 0, in the writing thread.
        """
        self._root, self._keep = root, keep
        self._awaited, self._committed = awaited, committed
        self._losses: dict[int, float] = {}
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._closed = threading.Event()

    def save(self, step: int, backend: Checkpointed) -> None:
        """Save a backend after `step` updates. A collective; waits for the checkpoint before it."""
        self.wait()
        folder = step_folder(self._root, step)
        if rank() == 0:
            clear(folder)
            _make(posixpath.join(folder, "parameters"))
        shares = (number % world_size() == rank() for number in itertools.count())
        states = zip(shares, backend.states(), strict=False)
        # Each state comes out of a collective, so every rank walks through all of them and keeps its own.
        share = {name: _copy_to_cpu(state) for own, (name, state) in states if own}
        barrier()
        self._writing = self._pool.submit(self._write, folder, step, share, rank(), world_size())

    def note_validation(self, step: int, loss: float) -> None:
        """Take the validation loss after `step` updates: of the checkpoints that have one, the best stays."""
        self._losses[step] = loss

    def wait(self) -> None:
        """Wait until the last checkpoint is written; an error of the thread is raised here."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def close(self) -> None:
        """Stop after a last checkpoint has had time to be written; an incomplete one stays uncommitted."""
        if self._writing is not None:
            wait([self._writing], timeout=_GRACE_SECONDS)
        self._closed.set()
        self._pool.shutdown(wait=True)

    def _write(self, folder: str, step: int, share: dict[str, ParameterState], own: int, world: int) -> None:
        for name, state in share.items():
            _write(posixpath.join(folder, "parameters", f"{name}.safetensors"), safetensors.save(state))
        _write(posixpath.join(folder, f"written-{own}"), b"")
        if own == 0 and self._all_written(folder, world):
            write_json(posixpath.join(folder, "position.json"), {"step": step, "world": world})
            write_json(posixpath.join(folder, MARKER), {"step": step})
            self._committed(step)
            self._drop_old()

    def _drop_old(self) -> None:
        there = committed_steps(self._root)
        losses = {done: read_json(place)["loss"] for done in there if exists(place := self._loss_file(done))}
        losses |= {done: loss for done, loss in self._losses.items() if done in there}
        for done in losses.keys() & self._losses.keys():
            write_json(self._loss_file(done), {"loss": losses[done]})
        best = min(losses, key=lambda done: (losses[done], done), default=None)
        for old in there[: -self._keep]:
            if old != best and not self._awaited(old):
                clear(step_folder(self._root, old))

    def _loss_file(self, step: int) -> str:
        return posixpath.join(step_folder(self._root, step), "validation.json")

    def _all_written(self, folder: str, world: int) -> bool:
        marks = [posixpath.join(folder, f"written-{place}") for place in range(world)]
        while not all(exists(mark) for mark in marks):
            if self._closed.wait(0.05):
                return False
        return True


def _copy_to_cpu(state: ParameterState) -> ParameterState:
    return {key: value.detach().to("cpu", copy=True).contiguous() for key, value in state.items()}


def load(root: str, step: int, backend: Checkpointed) -> None:
    """Restore a backend from a checkpoint made with any world size and ZeRO stage. A collective.

    Raises:
        ArtifactError: the checkpoint's parameters are not the model's.
    """
    folder = step_folder(root, step)
    found = read_json(posixpath.join(folder, "position.json"))["step"]
    if found != step:
        raise ArtifactError(f"{folder}: holds step {found}. Remove the folder and start the run again.")
    backend.restore(partial(read_parameter, root, step), step)


def read_parameter(root: str, step: int, name: str) -> ParameterState:
    """Read one parameter's state from a checkpoint.

    Raises:
        ArtifactError: the checkpoint has no such parameter.
    """
    folder = step_folder(root, step)
    filesystem, path = open_storage(posixpath.join(folder, "parameters", f"{name}.safetensors"))
    if filesystem.get_file_info(path).type == pafs.FileType.NotFound:
        raise ArtifactError(f"{folder}: has no parameter {name!r}; it belongs to another model. Remove {root}.")
    with filesystem.open_input_file(path) as stream:
        return safetensors.load(stream.read())


def write_metrics(root: str, first: int, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the metrics of consecutive steps from `first` on as one immutable segment."""
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    if lines:
        name = f"{first:08d}-{first + len(lines):08d}.jsonl"
        _make(posixpath.join(root, "metrics"))
        _write(posixpath.join(root, "metrics", name), ("\n".join(lines) + "\n").encode())


def drop_metrics(root: str, step: int) -> None:
    """Remove the segments of steps from `step` on: a resumed run writes them again."""
    for path in files_of(posixpath.join(root, "metrics")):
        match = _SEGMENT.search(path)
        if match and int(match.group(1)) >= step:
            filesystem, folder = open_storage(posixpath.join(root, "metrics"))
            filesystem.delete_file(posixpath.join(folder, posixpath.basename(path)))


def read_metrics(root: str) -> list[dict[str, Any]]:
    """Read the metrics of every step in order."""
    folder = posixpath.join(root, "metrics")
    records: list[dict[str, Any]] = []
    for name in sorted(files_of(folder)):
        if _SEGMENT.search(name):
            filesystem, path = open_storage(posixpath.join(folder, posixpath.basename(name)))
            with filesystem.open_input_file(path) as stream:
                records += map(json.loads, stream.read().splitlines())
    return records


def _make(uri: str) -> None:
    filesystem, path = open_storage(uri)
    filesystem.create_dir(path, recursive=True)


def _write(uri: str, data: bytes) -> None:
    filesystem, path = open_storage(uri)
    with filesystem.open_output_stream(path) as stream:
        stream.write(data)
