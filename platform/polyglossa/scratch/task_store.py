"""Store a stage's finished tasks: one committed result per item and step, beside the artifact.

A piece is any number of data files and a marker that is written last and holds its figures. A piece with a marker is
never done again; its name is a hash of all that shaped it, so changed files or a changed recipe meet no old work.
Rows lie in Arrow files with one record batch per bucket (of the key's hash), so a bucket is read without the others.
"""

import hashlib
import json
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.artifact import clear, exists, open_storage, place_json, read_json
from polyglossa.vectors import as_keys

_CODEC = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class TaskStore:
    """One piece of work: its step, and the name that tells it from every other."""

    root: str
    step: str
    name: str

    @staticmethod
    def of(root: str, step: str, shape: Any) -> "TaskStore":
        """Name the work after everything that shapes it (a JSON value)."""
        canonical = json.dumps(shape, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return TaskStore(root, step, hashlib.sha256(canonical.encode()).hexdigest()[:20])

    def at(self, file: str) -> str:
        """Address of one of its files; the folder exists afterwards."""
        uri = posixpath.join(self.root, self.step, self.name, file)
        filesystem, path = open_storage(uri)
        filesystem.create_dir(posixpath.dirname(path), recursive=True)
        return uri

    @property
    def _marker(self) -> str:
        return posixpath.join(self.root, self.step, f"{self.name}.json")

    @property
    def is_done(self) -> bool:
        """Whether it was committed."""
        return exists(self._marker)

    def begin(self) -> None:
        """Remove what an interrupted attempt left."""
        clear(posixpath.join(self.root, self.step, self.name))

    def commit(self, figures: Any) -> None:
        """Write the marker with the figures of the piece."""
        place_json(self._marker, figures)

    def figures(self) -> Any:
        """Read the figures of committed work."""
        return read_json(self._marker)


def bucket_of(keys: pa.ChunkedArray | pa.Array, buckets: int) -> np.ndarray:
    """Bucket of each 16-byte key."""
    return (as_keys(keys)[:, 1] % np.uint64(buckets)).astype(np.int64)


def write_buckets(table: pa.Table, bucket: np.ndarray, buckets: int, uri: str) -> None:
    """Write a table with one record batch per bucket; rows of a bucket keep their order."""
    order = np.argsort(bucket.astype(np.uint16 if buckets < 2**16 else np.int64), kind="stable")
    ends = np.cumsum(np.bincount(bucket, minlength=buckets))
    (grouped,) = table.combine_chunks().take(pa.array(order)).to_batches() or [_no_rows(table.schema)]
    spans = zip([0, *ends[:-1]], ends, strict=True)
    write_batches((grouped.slice(start, end - start) for start, end in spans), table.schema, uri)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema)


def write_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, uri: str) -> None:
    """Write record batches as they come, one per bucket."""
    filesystem, path = open_storage(uri)
    with filesystem.open_output_stream(path) as sink, pa.ipc.new_file(sink, schema, options=_CODEC) as writer:
        for batch in batches:
            writer.write_batch(batch)


def read_bucket(uris: Iterable[str], bucket: int, schema: pa.Schema) -> pa.Table:
    """Read one bucket of every file, in the order of the files."""
    batches: list[pa.RecordBatch] = []
    for uri in uris:
        filesystem, path = open_storage(uri)
        with filesystem.open_input_file(path) as stream, pa.ipc.open_file(stream) as reader:
            batches.append(reader.get_batch(bucket))
    return pa.Table.from_batches(batches, schema).combine_chunks()


def write_table(table: pa.Table, uri: str) -> None:
    """Write one Parquet file (zstd); equal tables give equal bytes."""
    filesystem, path = open_storage(uri)
    pq.write_table(table, path, filesystem=filesystem, compression="zstd", row_group_size=65_536)


def read_table(uri: str) -> pa.Table:
    """Read one Parquet file."""
    filesystem, path = open_storage(uri)
    return pq.read_table(path, filesystem=filesystem)


def write_array(values: np.ndarray, uri: str) -> None:
    """Write a NumPy array."""
    filesystem, path = open_storage(uri)
    with filesystem.open_output_stream(path) as stream:
        np.save(stream, values, allow_pickle=False)


def read_array(uri: str) -> np.ndarray:
    """Read a NumPy array."""
    filesystem, path = open_storage(uri)
    with filesystem.open_input_file(path) as stream:
        return np.load(stream, allow_pickle=False)


def chunks(tables: Iterable[pa.Table], limit_bytes: int) -> Iterator[pa.Table]:
    """Join small tables until they reach a size."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.nbytes for part in waiting) >= limit_bytes:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def sort_by_id(table: pa.Table, column: str) -> pa.Table:
    """Sort by a 16-byte id."""
    keys = as_keys(table[column])
    return table.take(pa.array(np.lexsort((keys[:, 1], keys[:, 0]))))
