"""Tables of local tasks from any storage, as the package's one reader reads them, their subsets, and a revision.

No mteb here: the driver reads what it needs to plan, workers read what they judge.
"""

import posixpath
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import xxhash

from polyglossa.artifact import open_storage
from polyglossa.errors import DataError
from polyglossa.readers.cells import Cell
from polyglossa.readers.files import File, list_files
from polyglossa.readers.formats import BY_SUFFIX, COMPRESSIONS
from polyglossa.readers.pieces import Piece
from polyglossa.readers.survey import column_names, format_of
from polyglossa.readers.tables import Columns, Whole, read_piece, whole

READING = 2
"""Changes with the rules that tables are read by: a verdict on another reading is not this one's."""


def locate(data: str, path: str) -> str:
    """Put a relative path behind the recipe's data folder."""
    return path if not data or "://" in path or path.startswith("/") else posixpath.join(data, path)


def table_file(path: str) -> File:
    """The file at a path or URI.

    Raises:
        DataError: none is there.
    """
    files = list_files([path])
    if len(files) != 1:
        raise DataError(f"{path}: names {len(files)} files; a local task's table is one file.")
    return files[0]


def read_table(
    path: str,
    required: Mapping[str, Cell],
    optional: Mapping[str, Cell] | None = None,
    kept: Sequence[str] = (),
    filled: Sequence[str] = (),
) -> Whole:
    """Read a table.

    Args:
        path: file or URI; its suffix tells the format.
        required: columns that must be there and filled; rows without are counted as bad.
        optional: further columns; those that the file does not have are left out.
        kept: columns of the result; none: all.
        filled: optional columns of texts that are empty where a row has none.

    Raises:
        DataError: the file is missing, unreadable, or lacks a column.
    """
    file = table_file(path)
    present = column_names(file)
    columns = Columns(required, {name: cell for name, cell in (optional or {}).items() if name in present})
    if not present:
        raise DataError(f"{path}: holds no rows.")
    return whole(read_piece(Piece(file), format_of(file), columns), columns, kept, filled)


def first_of(path: str, *names: str) -> str:
    """The first of some common names that a table's columns have; the first of all where it has none of them."""
    present = column_names(table_file(path))
    return next((name for name in names if name in present), names[0])


def find_table(folder: str, names: Sequence[str]) -> str:
    """Find a table in a folder by its name before the suffix; the first of the names counts.

    Raises:
        DataError: none of them is there, or one in two formats.
    """
    filesystem, place = open_storage(folder)
    for name in names:
        wanted = [f"{name}{suffix}{packed}" for suffix in BY_SUFFIX for packed in ("", *COMPRESSIONS)]
        infos = filesystem.get_file_info([posixpath.join(place, one) for one in wanted])
        found = [one for one, info in zip(wanted, infos, strict=True) if info.type == pafs.FileType.File]
        if ".parquet" in (posixpath.splitext(one)[1] for one in found):
            found = [f"{name}.parquet"]
        if len(found) > 1:
            raise DataError(f"{folder}: holds {' and '.join(found)}; keep one of them.")
        if found:
            return posixpath.join(folder, found[0])
    raise DataError(f"{folder}: holds none of {', '.join(names)} (as {', '.join(BY_SUFFIX)}).")


def subset_names(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Name the subset of every row: its columns joined by `_`; `default` where there are none."""
    present = [table[column].cast(pa.string()) for column in columns if column in table.column_names]
    if not present:
        return pa.array(["default"] * len(table), pa.string())
    joined = present[0] if len(present) == 1 else pc.binary_join_element_wise(*present, "_")
    return pc.fill_null(joined, "default").combine_chunks()


def revision_of(paths: Sequence[str]) -> str:
    """Hash the content of files and the rules of reading: what results and their cache are bound to."""
    digest = xxhash.xxh3_128(f"reading {READING}".encode())
    for path in paths:
        filesystem, place = open_storage(path)
        with filesystem.open_input_stream(place, compression=None) as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
        digest.update(b"\x1e")
    return str(digest.hexdigest())
