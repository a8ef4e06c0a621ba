"""The content-addressed vector store: raw pooled states at full width, shared by mining, evaluation and distillation.

A store is the folder `<root>/vectors/<fingerprint>/`. The fingerprint names all that shapes a state besides the text
(weights, tokenizer, pooling, length limit, precision); inside it a state is known by the id of the *rendered* text, so
a prompt is part of the key. Shards are Arrow files that are only ever added, each by one atomic rename: any number of
processes may append and read at once, and a killed writer leaves nothing that a reader could see. Where each text lies
is told by sorted runs on disk (`vector_index`), so a process that reads 500 million texts holds no key of most.

    store = VectorStore(root, encoder.fingerprint)
    refused = store.append(ids, states)     # [N, D] raw states; NaN and zero rows are refused, one flag per row
    vectors = store.read(ids, width=256)    # [N, 256] float32, truncated, then normalised
"""

import posixpath
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import xxhash

from polyglossa.artifact import open_storage
from polyglossa.errors import ArtifactError
from polyglossa.vector_index import RUN_KEYS, Index

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

_SUFFIX = ".arrow"
_READ_ROWS = 65_536  # rows truncated and normalised at once: the temporary copies stay small
_OPEN_SHARDS = 256  # mapped at once: the pages of all that were read would be a whole store


def as_keys(ids: Sequence[bytes] | pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Turn 16-byte ids into [N, 2] unsigned integers whose order is the order of the bytes."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    if isinstance(ids, pa.Array):
        start = ids.offset * 16
        raw = memoryview(ids.buffers()[1] or b"")[start : start + len(ids) * 16]
    else:
        raw = memoryview(b"".join(ids))
    return np.frombuffer(raw, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def finish(states: npt.NDArray[np.floating], width: int | None = None, normalise: bool = True) -> Floats:
    """Truncate raw states [N, D] to `width` and scale every row to length 1, as float32 [N, width]."""
    cut = states[:, :width].astype(np.float32)
    if normalise:
        cut /= np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)
    return cut


def as_float32(vector_ND: np.ndarray) -> np.ndarray:
    """Keep the values, little-endian."""
    return vector_ND.astype("<f4", copy=False)


def as_float16(vector_ND: np.ndarray) -> np.ndarray:
    """Keep half the bytes, little-endian; cosines stay within about 0.000001."""
    return vector_ND.astype("<f2")


def as_int8(vector_ND: np.ndarray) -> np.ndarray:
    """Scale each vector so that its largest coordinate is ±127; cosines stay within about 0.001."""
    largest_N1 = np.maximum(np.abs(vector_ND).max(axis=1, keepdims=True, initial=0), 1e-12)
    return np.rint(vector_ND * (127 / largest_N1)).astype(np.int8)


def as_sign_bits(vector_ND: np.ndarray) -> np.ndarray:
    """Keep one bit a coordinate, 1 where it is positive, the first coordinate in the highest bit."""
    return np.packbits(vector_ND > 0, axis=1)


OUTPUT_DTYPES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "float32": as_float32,
    "float16": as_float16,
    "int8": as_int8,
    "binary": as_sign_bits,
}
"""What finished float32 vectors become, by name; the endpoint takes those of its schema, files all."""


class VectorStore:
    """One fingerprint's vectors. Open it anywhere; what others have added since shows after `refresh`."""

    def __init__(self, root: str, fingerprint: str, *, run_keys: int = RUN_KEYS) -> None:
        self.fingerprint = fingerprint
        self.uri = posixpath.join(root, "vectors", fingerprint)
        self.width: int | None = None
        """Width of the stored states; None while the store is empty."""
        self._filesystem, self._path = open_storage(self.uri)
        self._index = Index(self._filesystem, posixpath.join(self._path, "index"), run_keys)
        self._shards = self._index.shards()
        self._open: OrderedDict[int, npt.NDArray[np.floating]] = OrderedDict()
        self._stale = True

    def __len__(self) -> int:
        return len(self._current())

    def refresh(self) -> None:
        """Take in the shards that were added since the last look.

        Raises:
            ArtifactError: shards of two widths lie under the fingerprint.
        """
        self._stale = False
        self._index.refresh()
        there = np.array(self._names(), self._shards.dtype)
        for shard in there[~self._index.covers(there)].tolist():
            table = self._load(shard.decode())
            self._check_width(table.schema.field("state").type.list_size, shard.decode())
            self._index.add(shard, as_keys(table.column("text_id")))
        if self.width is None and len(there):
            self.width = self._load(there[0].decode()).schema.field("state").type.list_size
        self._shards = self._index.shards()
        self._open.clear()

    def holds(self, ids: Sequence[bytes] | pa.Array | pa.ChunkedArray) -> Flags:
        """Tell for every id whether its state is stored."""
        return self._current().find(as_keys(ids))[0] >= 0

    def append(self, ids: Sequence[bytes], states: npt.NDArray[np.floating]) -> Flags:
        """Store raw states, all of them in one new shard.

        Args:
            ids: ids of the N rendered texts.
            states: [N, D] raw pooled states; kept as float32.

        Returns:
            [N] flags: True where a row was refused because it is not finite or all zero.

        Raises:
            ArtifactError: the store holds states of another width.
        """
        states = np.ascontiguousarray(states, dtype=np.float32)
        if len(ids) != len(states):
            raise ArtifactError(f"{self.uri}: {len(ids)} ids came with {len(states)} states; one state per id.")
        if self.width is None:
            for name in self._names()[:1]:
                self.width = self._load(name).schema.field("state").type.list_size
        self._check_width(states.shape[1], "the new states")
        refused = ~np.isfinite(states).all(axis=1) | ~states.any(axis=1)
        usable = np.flatnonzero(~refused)
        if len(usable):
            self._write([ids[row] for row in usable.tolist()], states[usable] if refused.any() else states)
            self._stale = True
        return refused

    def read(
        self, ids: Sequence[bytes] | pa.Array | pa.ChunkedArray, *, width: int | None = None, normalise: bool = True
    ) -> Floats:
        """Return the vectors of N ids as [N, width] float32, truncated, then normalised.

        Raises:
            ArtifactError: an id is not stored, or `width` exceeds the stored one.
        """
        shard, row = self._current().find(as_keys(ids))
        if (shard < 0).any():
            raise ArtifactError(f"{self.uri}: {int((shard < 0).sum())} of {len(shard)} texts are not stored here.")
        if width is not None and width > (self.width or width):
            raise ArtifactError(f"{self.uri}: width {width} was asked, and the stored states have {self.width}.")
        vectors = np.empty((len(shard), width or self.width or 0), np.float32)
        for number, rows_out in _by_shard(shard):
            states = self._states(number)
            for start in range(0, len(rows_out), _READ_ROWS):
                out = rows_out[start : start + _READ_ROWS]
                vectors[out] = finish(states[row[out]], width, normalise)
        return vectors

    def _current(self) -> Index:
        """Where all that is stored lies, shards added through this object included."""
        if self._stale:
            self.refresh()
        return self._index

    def _names(self) -> list[str]:
        """File names of the committed shards."""
        selector = pafs.FileSelector(self._path, allow_not_found=True)
        names = (info.base_name for info in self._filesystem.get_file_info(selector))
        return sorted(name for name in names if name.endswith(_SUFFIX))

    def _check_width(self, width: int, what: str) -> None:
        if self.width is not None and width != self.width:
            raise ArtifactError(
                f"{self.uri}: {what} has width {width}, and this fingerprint stores width {self.width}. The model "
                "changed without its fingerprint; remove the folder to embed again."
            )
        self.width = width

    def _write(self, ids: list[bytes], states: Floats) -> None:
        """Write a shard under a name that its ids give, so that doing it twice leaves one."""
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(states.reshape(-1)), states.shape[1])
        table = pa.table({"text_id": pa.array(ids, pa.binary(16)), "state": vectors})
        name = f"{xxhash.xxh3_64_hexdigest(b''.join(ids))}-{len(ids)}{_SUFFIX}"
        self._filesystem.create_dir(self._path, recursive=True)
        draft = posixpath.join(self._path, f"{uuid.uuid4().hex}.part")
        with self._filesystem.open_output_stream(draft) as stream, pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)
        self._filesystem.move(draft, posixpath.join(self._path, name))

    def _load(self, name: str) -> pa.Table:
        path = posixpath.join(self._path, name)
        local = isinstance(self._filesystem, pafs.LocalFileSystem)
        source = pa.memory_map(path) if local else self._filesystem.open_input_file(path)
        return pa.ipc.open_file(source).read_all()

    def _states(self, shard: int) -> npt.NDArray[np.floating]:
        """States of a shard, [rows, D]: a view of the mapped file on local storage."""
        if shard not in self._open:
            column = self._load(self._shards[shard].decode()).column("state").combine_chunks()
            self._open[shard] = column.flatten().to_numpy().reshape(len(column), -1)
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]


def _by_shard(shards: npt.NDArray[np.int64]) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Group the rows of an answer by the shard that holds them."""
    order = np.argsort(shards, kind="stable")
    cuts = np.flatnonzero(np.diff(shards[order])) + 1
    return [(int(shards[rows[0]]), rows) for rows in np.split(order, cuts) if len(rows)]
