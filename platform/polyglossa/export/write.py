"""Export a member: write beside the place, hold it to the encoder, and only then move it there.

    export_model(path, "onnx", "exports/small", weights=("float32", "int8"))

A folder that was exported holds `export.json`: of what model (fingerprint), in which weights, and what of the encoder
each file keeps on the panel. Nothing half-written stays, whatever goes wrong.
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from polyglossa import __version__
from polyglossa.embedding.parity import check_parity
from polyglossa.errors import UserError
from polyglossa.export.gguf_file import GgufWeights, check_gguf, read_back, write_gguf
from polyglossa.export.onnx_file import outliers, quantize_int4, quantize_int8, write_onnx
from polyglossa.export.openvino_file import write_openvino
from polyglossa.export.padded_encoder import States, open_onnx, open_openvino, pad
from polyglossa.export.panel import Fidelity, Panel, Promise, builtin_panel, hold
from polyglossa.export.request import PACKAGES, check_request
from polyglossa.model.adapter_files import FOLDER as ADAPTERS
from polyglossa.model.adapter_files import adapter_tasks
from polyglossa.model.encoder import Encoder
from polyglossa.vectors import Floats

MANIFEST = "export.json"
PROMISES: Mapping[str, Promise] = {
    "float32": Promise(0.9999, 0.999),
    "F16": Promise(0.9999, 0.999),
    "Q8_0": Promise(0.999, 0.99),
    "int8": Promise(0.97, 0.99),
    "int4": Promise(0.9, 0.95),
}
_KEPT_SHARES = (0.0, 0.125, 0.25, 0.5)
"""Shares of matrix products that stay in float32, tried in turn until the panel is content."""
_CALIBRATION_TEXTS = 32


@dataclass
class Exported:
    """One file of an export."""

    file: str
    weights: str
    fidelity: Fidelity
    bytes: int
    float_products: int = 0
    """Matrix products left in float32 for the panel's sake."""
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return it for the manifest."""
        told = {"file": self.file, "weights": self.weights, "bytes": self.bytes, "panel": self.fidelity.plain()}
        told |= {"float_products": self.float_products} if self.float_products else {}
        return told | ({"notes": self.notes} if self.notes else {})


def export_model(
    path: str,
    to: str,
    out: str,
    *,
    name: str | None = None,
    weights: Sequence[str] = (),
    panel: Panel | None = None,
    least_cosine: float | None = None,
) -> dict[str, Any]:
    """Write a model directory in another program's format.

    Args:
        path: local model directory.
        to: one of `WEIGHTS`.
        out: folder that is made; nothing may be there, but an earlier export.
        name: what the model is called in the files; None takes the directory's name.
        weights: in which weights; none takes `DEFAULT_WEIGHTS`.
        panel: texts that it is held to; None is the built-in one.
        least_cosine: replaces the promised least cosine to the encoder.

    Returns:
        The manifest.

    Raises:
        UserError: the format, weights or place cannot be, a package is not installed, or the disk is full.
        DataError: the model has a part that the format lacks, or the export does not keep what is promised.
    """
    chosen = check_request(to, weights)
    tasks = adapter_tasks(path)
    if tasks and to != "folder":
        raise UserError(
            f"{path}: {to} holds no adapters, and the model has some ({', '.join(tasks)}). Export each task's own "
            "model: the training's `model/`, which has them in its weights."
        )
    encoder = Encoder.load(path)
    if to == "gguf":
        check_gguf(encoder.description)
    texts = panel or builtin_panel()
    with place(out) as folder:
        _copy_small_files(Path(path), folder)
        writer = _WRITERS[to](_Job(path, encoder, folder, name or Path(path).resolve().name, texts, least_cosine))
        files = [writer(one) for one in chosen]
        manifest = {
            "format": to,
            "model": {"name": name or Path(path).resolve().name, "fingerprint": encoder.fingerprint},
            "description": encoder.description.answer(),
            "max_tokens": encoder.max_tokens,
            "panel_texts": len(texts.texts),
            "files": [one.plain() for one in files],
            "version": __version__,
            "libraries": _libraries(to),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def _libraries(to: str) -> dict[str, str]:
    names = ("torch", "transformers", *PACKAGES.get(to, ()))
    return {name: version(name) for name in names}


@contextmanager
def place(out: str) -> Iterator[Path]:
    """Give a folder beside a place, which moves there when the block ends, and goes away if it ends in an error.

    Raises:
        UserError: something that is no export lies there, or the disk is full.
    """
    target = Path(out).absolute()
    if target.exists() and not (target / MANIFEST).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{out}: is there already and is no export; name another folder, or remove it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}).") from None
    try:
        yield folder
        _move(folder, target)
    except Exception as error:
        if _is_full(error):
            raise UserError(f"{out}: the disk is full; nothing was written. Free some room, or name another.") from None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    """Put a finished folder in its place; an earlier export goes only then."""
    folder.chmod(0o755)
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent)) / "old"
    try:
        if target.exists():
            os.rename(target, old)
        try:
            os.rename(folder, target)
        except OSError:
            if old.exists():
                os.rename(old, target)
            raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


def _is_full(error: BaseException | None) -> bool:
    """Whether a disk without room is behind an error; native writers tell it in words alone."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _copy_small_files(path: Path, folder: Path) -> None:
    """Copy what describes the model: configuration, tokenizer, modules, card, adapters; no weights of the backbone."""
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        inside = relative.parts[0] in ("onnx", "openvino", "gguf") or any(
            part.startswith(".") for part in relative.parts
        )
        weights = file.suffix in (".bin", ".h5", ".pt", ".onnx") or (
            file.suffix == ".safetensors" and relative.parts[0] != ADAPTERS and "Dense" not in relative.parts[0]
        )
        if file.is_file() and not inside and not weights and file.name != MANIFEST:
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


@dataclass(frozen=True)
class _Job:
    path: str
    encoder: Encoder
    folder: Path
    name: str
    panel: Panel
    least_cosine: float | None

    def promise(self, weights: str) -> Promise:
        own = PROMISES[weights]
        return own if self.least_cosine is None else Promise(self.least_cosine, min(own.retrieval_kept, 0.95))

    def finished(self, file: Path, weights: str, found: Fidelity, **more: Any) -> Exported:
        self.promise(weights).check(f"{file.name} ({weights})", found)
        size = sum(one.stat().st_size for one in file.parent.glob(f"{file.stem}.*"))
        return Exported(str(file.relative_to(self.folder)), weights, found, size, **more)

    def open(self, opener: Callable[..., States], file: Path) -> States:
        return opener(file, padding=self.encoder.tokenizer.pad_token_id or 0)


def _onnx(job: _Job) -> Callable[[str], Exported]:
    source = job.folder / "onnx" / "model.onnx"
    write_onnx(Encoder.load(job.path).model, source)
    found = hold(job.encoder, job.open(open_onnx, source), job.panel)

    def write(weights: str) -> Exported:
        if weights == "float32":
            return job.finished(source, weights, found)
        target = source.with_name(f"model_{weights}.onnx")
        if weights == "int4":
            quantize_int4(source, target)
            return job.finished(target, weights, hold(job.encoder, job.open(open_onnx, target), job.panel))
        fidelity, kept = _calibrated(job, source, target)
        return job.finished(target, weights, fidelity, float_products=kept)

    PROMISES["float32"].check("model.onnx (float32)", found)
    return write


def _calibrated(job: _Job, source: Path, target: Path) -> tuple[Fidelity, int]:
    """Write eight-bit weights; where the panel loses by it, products whose inputs stand out most stay in float32."""
    worst: list[tuple[str, float]] = []
    for share in _KEPT_SHARES:
        if share and not worst:
            tokens = job.encoder.tokenize(job.panel.texts[:_CALIBRATION_TEXTS])
            inputs = [dict(zip(("input_ids", "attention_mask"), pad([one], 0), strict=True)) for one in tokens if one]
            worst = outliers(source, inputs)
        kept = [name for name, _ in worst[: round(share * len(worst))]]
        quantize_int8(source, target, kept=kept)
        found = hold(job.encoder, job.open(open_onnx, target), job.panel)
        promise = job.promise("int8")
        if found.least_cosine >= promise.least_cosine and found.retrieval_kept >= promise.retrieval_kept:
            break
    return found, len(kept)


def _openvino(job: _Job) -> Callable[[str], Exported]:
    graph = tempfile.TemporaryDirectory(dir=job.folder)
    source = Path(graph.name) / "model.onnx"
    write_onnx(Encoder.load(job.path).model, source)

    def write(weights: str) -> Exported:
        name = "openvino_model" if weights == "float32" else f"openvino_model_{weights}"
        target = job.folder / "openvino" / f"{name}.xml"
        write_openvino(source, target, int8=weights == "int8")
        _ = graph  # the graph's folder lives as long as this function
        return job.finished(target, weights, hold(job.encoder, job.open(open_openvino, target), job.panel))

    return write


def _gguf(job: _Job) -> Callable[[str], Exported]:
    def write(weights: str) -> Exported:
        target = job.folder / f"{job.name}-{weights}.gguf"
        kind: GgufWeights = "F16" if weights == "F16" else "Q8_0"
        notes = write_gguf(job.encoder, target, name=job.name, weights=kind)
        again = read_back(target, job.encoder)
        return job.finished(target, weights, hold(job.encoder, _OfEncoder(again), job.panel), notes=notes)

    return write


def _folder(job: _Job) -> Callable[[str], Exported]:
    def write(weights: str) -> Exported:
        for file in sorted(Path(job.path).glob("*.safetensors*")):
            shutil.copyfile(file, job.folder / file.name)
        check_parity(str(job.folder))  # sentence-transformers reads what was copied
        found = hold(job.encoder, _OfEncoder(Encoder.load(str(job.folder))), job.panel)
        return job.finished(job.folder / "model.safetensors", weights, found)

    return write


class _OfEncoder:
    """An encoder where states are asked for as arrays."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def width(self) -> int:
        return self._encoder.width

    def states(self, token_ids: Sequence[Sequence[int]], *, chunk_tokens: int = 2048) -> Floats:
        state_NS: Floats = self._encoder.states(token_ids, chunk_tokens=chunk_tokens).numpy()
        return state_NS


_WRITERS: Mapping[str, Callable[[_Job], Callable[[str], Exported]]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "gguf": _gguf,
    "folder": _folder,
}
