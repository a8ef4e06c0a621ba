"""Run a stage as steps of pieces on Ray Data: each finished piece is committed, and none is done twice.

    steps = Steps(f"{draft.uri}.work", lineage, plan, placement, bar)
    works = steps.run("read", read, items)          # read(work, plan, item) writes the piece, returns its figures

What flows through Ray Data are numbers of pieces; data stays in files under the root. A step is named after all that
went before it, so changed files or a changed recipe meet no old work.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.fs as pafs
import ray
import ray.data
import ray.exceptions

from polyglossa.artifact import open_storage
from polyglossa.errors import ArtifactError, DataError, MemoryShortageError, StorageError
from polyglossa.recipe.placement import StagePlacement
from polyglossa.scratch.task_store import TaskStore

Figures = dict[str, Any]
_GIB = 2**30
_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
_ERRORS: dict[str, type[Exception]] = {"data": DataError, "artifact": ArtifactError, "storage": StorageError}


class Progress(Protocol):
    """Where progress is shown (`runtime.console.Bar`)."""

    def note(self, text: str) -> None:
        """Name what is being done."""

    def advance(self, amount: float = 1) -> None:
        """Count pieces as done."""


@dataclass
class Steps:
    """Does the pieces of a step that are not done yet."""

    root: str
    lineage: str
    plan: Any
    """What every piece is told."""
    placement: StagePlacement
    bar: Progress
    in_driver: bool = False
    """Whether pieces are done in this process, one after another: for little data, which workers would cost more."""

    def run(
        self,
        name: str,
        task: Callable[..., Figures],
        items: Sequence[Any],
        *arguments: Sequence[Any],
        shape: Callable[[Any], Any] = lambda item: item,
    ) -> list[TaskStore]:
        """Run `task(work, plan, item, *arguments of the item)` for every item and return their works, in order.

        Args:
            name: of the step.
            task: writes a piece and returns its figures.
            items: one a piece.
            arguments: further arguments, each as long as the items.
            shape: turns an item into the JSON value that tells it from the others.

        Raises:
            StorageError: storage is full, or refuses; pieces that are done stay.
            MemoryShortageError: workers are ended for memory again and again; likewise.
        """
        works = [TaskStore.of(self.root, name, [self.lineage, shape(item)]) for item in items]
        pending = [
            (work, item, *(argument[place] for argument in arguments))
            for place, (work, item) in enumerate(zip(works, items, strict=True))
            if not work.is_done
        ]
        self.bar.note(name)
        self.bar.advance(len(works) - len(pending))
        outcomes: Iterator[Mapping[str, str]]
        outcomes = map(partial(_do_piece, task, self.plan), pending) if self.in_driver else self._on_ray(task, pending)
        done = len(works) - len(pending)
        try:
            for outcome in outcomes:
                self._finish(name, outcome, len(works), done)
                done += 1
        except ray.exceptions.OutOfMemoryError as error:
            raise MemoryShortageError(_memory_message(name, error, len(works), done)) from None
        self.lineage = digest([self.lineage, name, [work.name for work in works]])
        return works

    def _on_ray(self, task: Callable[..., Figures], pending: Sequence[tuple[Any, ...]]) -> Iterator[Mapping[str, str]]:
        """Do pieces on Ray Data, in any order."""
        if not pending:
            return
        held = ray.put((self.plan, pending))
        rows = ray.data.range(len(pending), override_num_blocks=len(pending))
        # Budgets of the object store say "one task" until the first one ends (Ray 2.60), and nothing large is in it.
        rows.context.op_resource_reservation_enabled = False
        resources = {"label_selector": self.placement.labels} if self.placement.labels else {}
        yield from rows.map(_do, fn_args=(held, task), num_cpus=self.placement.cpus, **resources).iter_rows()

    def _finish(self, name: str, outcome: Mapping[str, str], pieces: int, done: int) -> None:
        if outcome["kind"] == "storage":
            raise StorageError(self._storage_message(name, outcome["error"], pieces, done))
        if outcome["error"]:
            raise _ERRORS[outcome["kind"]](outcome["error"])
        self.bar.advance(1)

    def _storage_message(self, name: str, said: str, pieces: int, done: int) -> str:
        """Say what a step still needs, from what its finished pieces take."""
        filesystem, path = open_storage(self.root)
        taken = _bytes_under(filesystem, f"{path}/{name}")
        needed = f"about {taken / done * (pieces - done) / _GIB:.2f} GiB more" if done else "room for at least one"
        local = isinstance(filesystem, pafs.LocalFileSystem)
        free = f" ({shutil.disk_usage(path).free / _GIB:.2f} GiB are free)" if local else ""
        return (
            f"step {name}: {self.root} takes no more: {said}. {done:,} of its {pieces:,} pieces are done and stay; the "
            f"others need {needed}{free}. Make room or grant access, then run the same command again."
        )


def _memory_message(name: str, error: Exception, pieces: int, done: int) -> str:
    """Say what of a step is done, and how to give the rest more memory each."""
    return (
        f"step {name}: workers were ended for memory ({str(error).splitlines()[0]}). {done:,} "
        f"of its {pieces:,} pieces are done and stay. `polyglossa plan` says what a task needs: give each more `cpus` "
        "in the profile, so that fewer share a node, or take nodes with more memory; then run the same command again."
    )


def _do(row: Mapping[str, int], held: ray.ObjectRef, task: Callable[..., Figures]) -> dict[str, str]:
    """Do one piece of work on a worker.

    Memory that Arrow keeps for later is given back: the next piece may have another shape, or be another's.
    """
    pa.set_cpu_count(1)
    plan, pending = ray.get(held)
    return _do_piece(task, plan, pending[row["id"]])


def _do_piece(task: Callable[..., Figures], plan: Any, piece: tuple[Any, ...]) -> dict[str, str]:
    """Do one piece of work; errors that are meant for a person come back as text."""
    work, *arguments = piece
    try:
        work.begin()
        work.commit(task(work, plan, *arguments))
    except DataError as error:
        return {"kind": "data", "error": str(error)}
    except ArtifactError as error:
        return {"kind": "artifact", "error": str(error)}
    except OSError as error:
        # Arrow raises a bucket's refusal without a number.
        if error.errno not in _REFUSALS and "ACCESS_DENIED" not in str(error):
            raise
        return {"kind": "storage", "error": str(error)}
    finally:
        pa.default_memory_pool().release_unused()
    return {"kind": "", "error": ""}


def _bytes_under(filesystem: pafs.FileSystem, path: str) -> int:
    selector = pafs.FileSelector(path, recursive=True, allow_not_found=True)
    return sum(info.size for info in filesystem.get_file_info(selector) if info.type == pafs.FileType.File)


def digest(shape: Any) -> str:
    """Name a JSON value by twenty hex digits."""
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:20]
