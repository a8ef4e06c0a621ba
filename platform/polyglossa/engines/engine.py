"""What a replica asks of an engine, and the engines on processors: the encoder itself, and exports of it."""

import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from polyglossa.export.padded_encoder import PaddedEncoder, open_onnx, open_openvino, padded_passes
from polyglossa.export.write import MANIFEST, export_model
from polyglossa.model.attention.products import attention_slots
from polyglossa.model.encoder import Encoder
from polyglossa.storage import revision_of
from polyglossa.vectors import Floats

_OPENERS: Mapping[str, Callable[..., PaddedEncoder]] = {"onnx": open_onnx, "openvino": open_openvino}


class Engine(Protocol):
    """A model as a replica runs it."""

    about: dict[str, Any]
    """What `/v1/models` says of it."""

    @property
    def width(self) -> int:
        """Width of a state."""

    def states(self, token_ids: Sequence[Sequence[int]], task: str | None = None) -> Floats:
        """Return the raw states [N, S] of one pass, float32; with the adapter of a task, where one is named."""

    def slots(self, lengths: Sequence[int]) -> int:
        """Count the token slots that one pass over texts of these lengths computes in attention."""


class TorchEngine:
    """The encoder's own packed forward pass."""

    def __init__(
        self, encoder: Encoder, *, dtype: str, on_gpu: bool, adapters: Mapping[str, str] | None = None
    ) -> None:
        """Hold an encoder, and another of the same weights for each task.

        Args:
            encoder: the model.
            dtype: of its weights.
            on_gpu: whether it is there.
            adapters: task → folder of its adapter.
        """
        self._encoder, self._on_gpu = encoder, on_gpu
        self._tasks = {task: encoder.with_adapter(folder) for task, folder in (adapters or {}).items()}
        self.about: dict[str, Any] = {"name": "torch", "weights": dtype}

    @property
    def width(self) -> int:
        """Width of a state."""
        return self._encoder.width

    def states(self, token_ids: Sequence[Sequence[int]], task: str | None = None) -> Floats:
        """Return the raw states [N, S] of one pass, float32; with the adapter of a task, where one is named."""
        encoder = self._encoder if task is None else self._tasks[task]
        state_NS: Floats = encoder.states(token_ids, chunk_tokens=max(1, sum(map(len, token_ids)))).numpy()
        return state_NS

    def slots(self, lengths: Sequence[int]) -> int:
        """Count the token slots of attention; on a GPU the kernel computes no padding."""
        return sum(lengths) if self._on_gpu else attention_slots(lengths)


class ExportedEngine:
    """An ONNX or OpenVINO file of the member; calls run side by side, a thread each."""

    def __init__(self, encoder: PaddedEncoder, about: dict[str, Any]) -> None:
        self._encoder, self.about = encoder, about

    @property
    def width(self) -> int:
        """Width of a state."""
        return self._encoder.width

    def states(self, token_ids: Sequence[Sequence[int]], task: str | None = None) -> Floats:
        """Return the raw states [N, S] of one pass, float32; no export holds adapters."""
        return self._encoder.states(token_ids, chunk_tokens=max(1, sum(map(len, token_ids))))

    def slots(self, lengths: Sequence[int]) -> int:
        """Count the token slots, padding included."""
        passes = padded_passes(list(lengths), max(1, sum(lengths)))
        return sum(max(lengths[row] for row in rows) * len(rows) for rows in passes)


def open_exported(path: str, engine: str, dtype: str) -> ExportedEngine:
    """Open a member's export; it is made and held to the encoder once a node, and kept.

    Args:
        path: local model directory.
        engine: `onnx` or `openvino`.
        dtype: `float32` or `int8`.

    Raises:
        UserError: a package is missing, or the model has a part that the format lacks.
    """
    place = exports_folder(path) / f"{engine}-{dtype}"
    if not (place / MANIFEST).is_file():
        export_model(path, engine, str(place), name=Path(path).name, weights=(dtype,))
    manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
    file = next(one for one in manifest["files"] if one["weights"] == dtype)
    about = {"name": engine, "weights": dtype, "least_cosine": file["panel"]["least_cosine"]}
    return ExportedEngine(_OPENERS[engine](place / file["file"]), about)


def exports_folder(path: str) -> Path:
    """Where this node keeps a model directory's exports; a changed directory gets another place."""
    home = os.environ.get("XDG_CACHE_HOME") or posixpath.join(str(Path.home()), ".cache")
    where = hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:16]
    return Path(home) / "polyglossa" / "exports" / f"{where}-{revision_of(path)}"
