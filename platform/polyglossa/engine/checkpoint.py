"""Canonical training checkpoints: free of world size and ZeRO stage, no pickle.

    <root>/step-00000200/parameters/<name>.safetensors    weight, exp_avg, exp_avg_sq: whole tensors, master precision
    <root>/step-00000200/position.json                    step = updates made so far; where the plan goes on
    <root>/step-00000200/COMMITTED                        written last; without it the folder is no checkpoint
    <root>/metrics/00000000-00000200.jsonl                one line a step, written before the checkpoint that covers it

Every rank writes its share of the parameters. Nothing else is state: order, negatives and dropout follow the step.
"""

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import pyarrow.fs as pafs
import safetensors.torch as safetensors

from polyglossa.artifact import MARKER, clear, exists, open_storage, read_json, write_json
from polyglossa.collectives import barrier, rank, world_size
from polyglossa.engine.backend_plain import ParameterState, ReadState
from polyglossa.errors import ArtifactError

_STEP = re.compile(r"step-(\d{8})$")
_SEGMENT = re.compile(r"(\d{8})-(\d{8})\.jsonl$")


class Checkpointed(Protocol):
    """What a backend offers to be saved and restored; every method is a collective."""

    def states(self) -> Iterator[tuple[str, ParameterState]]:
        """Yield every parameter's state by name."""

    def restore(self, read: ReadState, step: int) -> None:
        """Take over every parameter's state."""


def committed_steps(root: str) -> list[int]:
    """Steps of the checkpoints under a root, ascending."""
    return sorted(
        int(match.group(1))
        for name in _folder(root)
        if (match := _STEP.search(name)) and exists(posixpath.join(root, posixpath.basename(name), MARKER))
    )


def latest(root: str) -> int:
    """Return the step that a run resumes at: its last checkpoint's, or 0."""
    return max(committed_steps(root), default=0)


class LatestSteps:
    """Run name → the step it resumes at; picklable, so the feed asks anew for each worker group."""

    def __init__(self, roots: Mapping[str, str]) -> None:
        self._roots = dict(roots)

    def __call__(self, name: str) -> int:
        """Look in storage."""
        return latest(self._roots[name])


def save(root: str, step: int, backend: Checkpointed, *, keep: int, extra: Mapping[str, Any] | None = None) -> None:
    """Write a checkpoint and drop older ones. A collective.

    Args:
        root: folder of the run's checkpoints.
        step: updates made so far.
        backend: whose weights and moments are saved.
        keep: newest checkpoints that stay, this one included.
        extra: further plain values for `position.json`.
    """
    folder = posixpath.join(root, f"step-{step:08d}")
    if rank() == 0:
        _make(posixpath.join(folder, "parameters"))
    barrier()
    for number, (name, state) in enumerate(backend.states()):
        if number % world_size() == rank():
            plain = {key: value.detach().cpu().contiguous() for key, value in state.items()}
            _write(posixpath.join(folder, "parameters", f"{name}.safetensors"), safetensors.save(plain))
    barrier()
    if rank() == 0:
        write_json(posixpath.join(folder, "position.json"), {"step": step, "world": world_size(), **(extra or {})})
        write_json(posixpath.join(folder, MARKER), {"step": step})
        for old in committed_steps(root)[:-keep]:
            clear(posixpath.join(root, f"step-{old:08d}"))


def load(root: str, step: int, backend: Checkpointed) -> None:
    """Restore a backend from a checkpoint made with any world size and ZeRO stage. A collective.

    Raises:
        ArtifactError: the checkpoint's parameters are not the model's.
    """
    folder = posixpath.join(root, f"step-{step:08d}")
    found = read_json(posixpath.join(folder, "position.json"))["step"]
    if found != step:
        raise ArtifactError(f"{folder}: holds step {found}. Remove the folder and start the run again.")

    def read(name: str) -> ParameterState:
        filesystem, path = open_storage(posixpath.join(folder, "parameters", f"{name}.safetensors"))
        if filesystem.get_file_info(path).type == pafs.FileType.NotFound:
            raise ArtifactError(f"{folder}: has no parameter {name!r}; it belongs to another model. Remove {root}.")
        with filesystem.open_input_file(path) as stream:
            return safetensors.load(stream.read())

    backend.restore(read, step)


def write_metrics(root: str, first: int, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the metrics of consecutive steps from `first` on as one immutable segment."""
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    if lines:
        name = f"{first:08d}-{first + len(lines):08d}.jsonl"
        _make(posixpath.join(root, "metrics"))
        _write(posixpath.join(root, "metrics", name), ("\n".join(lines) + "\n").encode())


def read_metrics(root: str) -> list[dict[str, Any]]:
    """Read the metrics of every step once, in order; where segments overlap after a restart, the newer one holds."""
    folder = posixpath.join(root, "metrics")
    by_step: dict[int, dict[str, Any]] = {}
    for name in sorted(_folder(folder)):
        if _SEGMENT.search(name):
            filesystem, path = open_storage(posixpath.join(folder, posixpath.basename(name)))
            with filesystem.open_input_file(path) as stream:
                by_step |= {record["step"]: record for record in map(json.loads, stream.read().splitlines())}
    return [by_step[step] for step in sorted(by_step)]


def _folder(uri: str) -> list[str]:
    filesystem, path = open_storage(uri)
    return [info.path for info in filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))]


def _make(uri: str) -> None:
    filesystem, path = open_storage(uri)
    filesystem.create_dir(path, recursive=True)


def _write(uri: str, data: bytes) -> None:
    filesystem, path = open_storage(uri)
    with filesystem.open_output_stream(path) as stream:
        stream.write(data)
