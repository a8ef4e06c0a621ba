"""Artifacts: what stages exchange. A directory of data, `manifest.json`, and a commit marker written last.

An artifact's address is a hash of everything that shaped it (stage, the stage's revision, its config, its parents), so
running a pipeline again does only what changed. A directory without the marker is no artifact: it is ignored, and
cleared by the next run that wants its place. Storage is a URI through `pyarrow.fs` (a local path, `s3://`, `gs://`).

    artifact = produce(root, ArtifactKey(stage="mine", name="mine", ...), make)
"""

import hashlib
import json
import posixpath
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from polyglossa import __version__
from polyglossa.errors import ArtifactError

MARKER = "COMMITTED"
MANIFEST = "manifest.json"
_RECORDED_LIBRARIES = ("torch", "ray", "transformers", "deepspeed", "pyarrow", "tokenizers")


def open_storage(uri: str) -> tuple[pafs.FileSystem, str]:
    """Resolve a URI or a local path to a filesystem and the path in it."""
    if "://" in uri:
        filesystem, path = pafs.FileSystem.from_uri(uri)
        return filesystem, path
    return pafs.LocalFileSystem(), str(Path(uri).absolute())


@dataclass(frozen=True)
class ArtifactKey:
    """Everything that shapes an artifact."""

    stage: str
    name: str
    revision: int
    config: Mapping[str, Any]
    parents: Mapping[str, "Artifact"] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Sixteen hex digits; equal keys give equal hashes on any machine."""
        shape = {
            "stage": self.stage,
            "revision": self.revision,
            "config": self.config,
            "parents": {role: parent.hash for role, parent in sorted(self.parents.items())},
        }
        canonical = json.dumps(shape, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def lease(self) -> str:
        """What a run holds while it makes the artifact: its draft, its scratch folders, its checkpoints."""
        return f"{self.name}-{self.hash}"

    def uri(self, root: str) -> str:
        """Where the artifact lies under a storage root."""
        return posixpath.join(root, "artifacts", self.stage, f"{self.name}-{self.hash}")


@dataclass(frozen=True)
class Artifact:
    """A committed artifact: where it is and what its manifest says."""

    uri: str
    manifest: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """What its children's keys see: the hash of its own key, or of its content where the stage said so."""
        return str(self.manifest["hash"])

    @property
    def counts(self) -> Mapping[str, Any]:
        """Row counts and other whole-artifact figures that the stage recorded."""
        return dict(self.manifest["counts"])

    @property
    def unfinished(self) -> str | None:
        """What its stage could not do this time, and the next run tries again."""
        said = self.manifest.get("unfinished")
        return None if said is None else str(said)

    def at(self, *parts: str) -> str:
        """Address of something inside the artifact."""
        return posixpath.join(self.uri, *parts)

    def read_json(self, *parts: str) -> Any:
        """Read a JSON file of the artifact."""
        return read_json(self.at(*parts))


@dataclass
class Draft:
    """An artifact in the making: the stage writes under `uri` and records its counts.

    `identity` is what children see as this artifact's hash. A stage whose output can be equal under unequal keys (the
    same tokenizer of two models) sets it to a hash of the content, so that its children are shared; one that leaves
    something `unfinished` sets it to another than a finished artifact's, so that its children are not.
    """

    uri: str
    counts: dict[str, Any] = field(default_factory=dict)
    identity: str | None = None
    precision: Mapping[str, Any] | None = None
    """What models were computed in (`runtime.precision`); told in the manifest, no part of any address."""
    unfinished: str | None = None
    """What could not be done for a reason that may pass; children read what there is, the next run makes it anew."""

    def at(self, *parts: str) -> str:
        """Address of something inside the draft; its folder exists afterwards."""
        uri = posixpath.join(self.uri, *parts)
        filesystem, path = open_storage(uri)
        filesystem.create_dir(posixpath.dirname(path), recursive=True)
        return uri

    def write_json(self, value: Any, *parts: str) -> None:
        """Write a JSON file into the draft."""
        write_json(self.at(*parts), value)

    def count(self, **figures: Any) -> None:
        """Record figures for the manifest (rows in, rows out, tokens …)."""
        self.counts.update(figures)


def read_json(uri: str) -> Any:
    """Read a JSON file from any storage."""
    filesystem, path = open_storage(uri)
    with filesystem.open_input_file(path) as stream:
        return json.loads(stream.read())


def write_json(uri: str, value: Any) -> None:
    """Write a JSON file to any storage."""
    filesystem, path = open_storage(uri)
    with filesystem.open_output_stream(path) as stream:
        stream.write(_json(value))


def place_json(uri: str, value: Any) -> None:
    """Write a JSON file that others may be reading, whole or not at all."""
    with placed_file(uri) as stream:
        stream.write(_json(value))


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True).encode()


@contextmanager
def placed_file(uri: str) -> Iterator[pa.NativeFile]:
    """Open a file to write that gets its name, in place of an older one, when it is whole.

    Its folder is made. A writer that fails leaves nothing, one that is killed a `.part` that no reader takes.
    """
    filesystem, path = open_storage(uri)
    folder = posixpath.dirname(path)
    filesystem.create_dir(folder, recursive=True)
    # A name of its own: two writers of one file do not write into each other's.
    draft = posixpath.join(folder, f"{uuid.uuid4().hex}.part")
    try:
        with filesystem.open_output_stream(draft) as stream:
            yield stream
        filesystem.move(draft, path)
    finally:
        if filesystem.get_file_info(draft).is_file:
            filesystem.delete_file(draft)


def read_table(uri: str) -> pa.Table:
    """Read one Parquet file from any storage."""
    filesystem, path = open_storage(uri)
    return pq.read_table(path, filesystem=filesystem)


def exists(uri: str) -> bool:
    """Tell whether a file or folder is there."""
    filesystem, path = open_storage(uri)
    return filesystem.get_file_info(path).type != pafs.FileType.NotFound


def clear(uri: str) -> None:
    """Remove a folder and all it holds; nothing happens where there is none."""
    filesystem, path = open_storage(uri)
    if filesystem.get_file_info(path).type == pafs.FileType.Directory:
        filesystem.delete_dir(path)


def find(root: str, key: ArtifactKey) -> Artifact | None:
    """Return the committed artifact of a key, or None."""
    uri = key.uri(root)
    return open_artifact(uri) if exists(posixpath.join(uri, MARKER)) else None


def find_finished(root: str, key: ArtifactKey) -> Artifact | None:
    """Return the committed artifact of a key, or None where there is none or it is to be made anew."""
    found = find(root, key)
    return None if found is None or found.unfinished else found


def open_artifact(uri: str) -> Artifact:
    """Open a committed artifact.

    Raises:
        ArtifactError: nothing committed lies there.
    """
    if not exists(posixpath.join(uri, MARKER)):
        raise ArtifactError(f"{uri}: no committed artifact is here. Run the stage that makes it again.")
    return Artifact(uri, read_json(posixpath.join(uri, MANIFEST)))


def produce(root: str, key: ArtifactKey, make: Callable[[Draft], None]) -> Artifact:
    """Return the artifact of a key, making it if it is not there, or was left unfinished.

    Args:
        root: storage root.
        key: what shapes the artifact.
        make: writes the data under the draft's address. A stage that can resume keeps its progress outside the draft.
    """
    if find_finished(root, key) is None:
        with open_drafts(root, [key]) as drafts:
            make(drafts[0])
    return open_artifact(key.uri(root))


@contextmanager
def open_drafts(root: str, keys: Sequence[ArtifactKey]) -> Iterator[list[Draft]]:
    """Open a draft for each key; commit all of them where the block ends, and leave none where it raises.

    Args:
        root: storage root.
        keys: of artifacts that are to be made; what lies in their places is cleared.
    """
    drafts = [Draft(key.uri(root)) for key in keys]
    started = time.monotonic()
    for draft in drafts:
        clear(draft.uri)
    try:
        yield drafts
        for key, draft in zip(keys, drafts, strict=True):
            _commit(key, draft, time.monotonic() - started)
    except BaseException:
        for draft in drafts:
            if not exists(posixpath.join(draft.uri, MARKER)):
                clear(draft.uri)
        raise


def _commit(key: ArtifactKey, draft: Draft, seconds: float) -> None:
    manifest = {
        "stage": key.stage,
        "name": key.name,
        "key": key.hash,
        "hash": draft.identity or key.hash,
        "revision": key.revision,
        "config": key.config,
        "parents": {role: {"hash": parent.hash, "uri": parent.uri} for role, parent in key.parents.items()},
        "counts": draft.counts,
        **({"precision": draft.precision} if draft.precision is not None else {}),
        **({"unfinished": draft.unfinished} if draft.unfinished is not None else {}),
        "version": __version__,
        "libraries": {name: version(name) for name in _RECORDED_LIBRARIES},
        "wall_seconds": round(seconds, 3),
    }
    draft.write_json(manifest, MANIFEST)
    draft.write_json({"key": key.hash}, MARKER)
