"""Tables of local tasks: Parquet, JSON lines or CSV from any storage, their subsets, and a revision by content.

No mteb here: the driver reads what it needs to plan, workers read what they judge.
"""

import posixpath
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.json as pajson
import pyarrow.parquet as pq
import xxhash

from polyglossa.artifact import open_storage
from polyglossa.errors import DataError

_READERS = {".parquet": pq.read_table, ".jsonl": pajson.read_json, ".json": pajson.read_json, ".csv": pacsv.read_csv}


def located(data: str, path: str) -> str:
    """Put a relative path behind the recipe's data folder."""
    return path if not data or "://" in path or path.startswith("/") else posixpath.join(data, path)


def read_table(path: str, columns: Sequence[str] = ()) -> pa.Table:
    """Read a table.

    Args:
        path: file or URI; its ending tells the format (a TSV has tabs between its columns).
        columns: columns that must be there.

    Raises:
        DataError: the file is missing, unreadable, or lacks a column.
    """
    filesystem, place = open_storage(path)
    ending = posixpath.splitext(place)[1].lower()
    if ending not in (*_READERS, ".tsv"):
        raise DataError(f"{path}: a table ends in {', '.join((*_READERS, '.tsv'))}; this does not.")
    try:
        with filesystem.open_input_file(place) as stream:
            if ending == ".tsv":
                table = pacsv.read_csv(stream, parse_options=pacsv.ParseOptions(delimiter="\t"))
            else:
                table = _READERS[ending](stream)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}).") from None
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise DataError(f"{path}: has no column {missing[0]!r}; it has {', '.join(table.column_names)}.")
    return table


def find_table(folder: str, names: Sequence[str]) -> str:
    """Find the first of some files in a folder.

    Raises:
        DataError: none of them is there.
    """
    filesystem, place = open_storage(folder)
    for name in names:
        if filesystem.get_file_info(posixpath.join(place, name)).type == pafs.FileType.File:
            return posixpath.join(folder, name)
    raise DataError(f"{folder}: holds none of {', '.join(names)}.")


def subset_names(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Name the subset of every row: its columns joined by `_`; `default` where there are none."""
    present = [table[column].cast(pa.string()) for column in columns if column in table.column_names]
    if not present:
        return pa.array(["default"] * len(table), pa.string())
    joined = present[0] if len(present) == 1 else pc.binary_join_element_wise(*present, "_")
    return pc.fill_null(joined, "default").combine_chunks()


def revision_of(paths: Sequence[str]) -> str:
    """Hash the content of files: the revision that results and their cache are bound to."""
    digest = xxhash.xxh3_128()
    for path in paths:
        filesystem, place = open_storage(path)
        with filesystem.open_input_stream(place) as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
        digest.update(b"\x1e")
    return str(digest.hexdigest())
