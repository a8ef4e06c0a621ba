"""Files of the mining stage, on any storage."""

import posixpath

import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.artifact import open_storage
from polyglossa.mine.work import FOUND


def write_text(uri: str, text: str) -> None:
    """Write a text file to any storage."""
    filesystem, path = open_storage(uri)
    with filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())


def read_found(uri: str, schema: pa.Schema = FOUND) -> pa.Table:
    """Read what a task found."""
    filesystem, path = open_storage(uri)
    return pq.read_table(path, filesystem=filesystem, schema=schema)


def write_table(table: pa.Table, uri: str) -> None:
    """Write one Parquet file under its final name only when it is whole."""
    filesystem, path = open_storage(uri)
    filesystem.create_dir(posixpath.dirname(path), recursive=True)
    pq.write_table(table, f"{path}.part", compression="zstd", filesystem=filesystem)
    filesystem.move(f"{path}.part", path)
