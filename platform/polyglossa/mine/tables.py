"""Files of the mining stage, on any storage."""

import posixpath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, open_storage
from polyglossa.errors import DataError
from polyglossa.mine.unit import FOUND
from polyglossa.records import PAIR


def write_text(uri: str, text: str) -> None:
    """Write a text file to any storage."""
    filesystem, path = open_storage(uri)
    with filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())


def read_pairs(corpus: Artifact) -> dict[str, pa.Table]:
    """Training and validation pairs by source; what is held out stays out of mining."""
    filesystem, path = open_storage(corpus.at("pairs"))
    sources = sorted(info.base_name for info in filesystem.get_file_info(pafs.FileSelector(path)))
    pairs = {}
    for source in sources:
        table = read_folder(corpus.at("pairs", source), PAIR)
        pairs[source] = table.filter(pc.is_in(table.column("split"), value_set=pa.array(["train", "validation"])))
    if not pairs:
        raise DataError(f"{corpus.uri}: the corpus has no pairs to mine.")
    return pairs


def read_folder(uri: str, schema: pa.Schema) -> pa.Table:
    """Read all Parquet files of a folder."""
    filesystem, path = open_storage(uri)
    return pads.dataset(path, schema=schema, filesystem=filesystem, format="parquet").to_table()


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
