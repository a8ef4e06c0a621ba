"""Which files a recipe's paths, globs and URIs stand for, and how large files are cut into pieces.

Pure but for listing: the pieces depend on the files' names and sizes alone, never on the order in which they are given
or on how many workers will read them.
"""

import fnmatch
import glob
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow.fs as pafs
import pyarrow.parquet as pq

from polyglossa.artifact import open_storage
from polyglossa.errors import DataError

PIECE_BYTES = 64 * 2**20
"""Files are read in pieces of about this size, so that memory does not grow with them."""

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_FORMATS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
}  # fmt: skip


@dataclass(frozen=True, order=True)
class File:
    """A file as it was listed; size and time tell whether it changed since."""

    uri: str
    size: int
    modified: int
    """Nanoseconds since 1970."""

    @property
    def compression(self) -> str | None:
        """`gzip`, `zstd` or None, by the suffix."""
        return _COMPRESSIONS.get(posixpath.splitext(bare(self.uri))[1])

    @property
    def format(self) -> str | None:
        """`jsonl`, `csv`, `tsv`, `parquet` or None, by the suffix before the compression's."""
        path = bare(self.uri)
        return _FORMATS.get(posixpath.splitext(posixpath.splitext(path)[0] if self.compression else path)[1])


@dataclass(frozen=True, order=True)
class Piece:
    """Part of a file: row groups of Parquet, bytes of plain JSONL, else the whole file."""

    file: File
    start: int = 0
    end: int | None = None
    """None: to the end of the file."""


def bare(uri: str) -> str:
    """The path of a URI, without the query that names an endpoint."""
    return uri.partition("?")[0] if "://" in uri else uri


def list_files(patterns: Iterable[str], source: str, folder: str = "") -> list[File]:
    """List what the patterns match, each file once, sorted.

    Args:
        patterns: paths, globs or URIs.
        source: who wants them, for the message.
        folder: where relative paths start; empty: the working directory.

    Raises:
        DataError: a pattern matches nothing.
    """
    found: set[File] = set()
    for pattern in patterns:
        files = _list(under(folder, pattern))
        if not files:
            raise DataError(f"corpus source {source!r}: {pattern} matches no file.")
        found.update(files)
    return sorted(found)


def under(folder: str, path: str) -> str:
    """Put a relative path under a folder."""
    return path if "://" in path or not folder else posixpath.join(folder, path)


def _list(pattern: str) -> list[File]:
    if "://" not in pattern:
        paths = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]
        return [file for path in paths for file in _expand(pafs.LocalFileSystem(), str(Path(path).absolute()), "", "")]
    address, mark, query = pattern.partition("?")
    scheme, _, rest = address.partition("://")
    folder = rest.split("*")[0].rpartition("/")[0] if "*" in rest else rest
    filesystem, path = open_storage(f"{scheme}://{folder}{mark}{query}")
    return [
        file
        for file in _expand(filesystem, path, f"{scheme}://", mark + query)
        if "*" not in rest or fnmatch.fnmatch(bare(file.uri).removeprefix(f"{scheme}://"), rest)
    ]


def _expand(filesystem: pafs.FileSystem, path: str, before: str, after: str) -> list[File]:
    """The file itself, or every file below a folder."""
    info = filesystem.get_file_info(path)
    if info.type == pafs.FileType.Directory:
        infos: Sequence[pafs.FileInfo] = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    else:
        infos = [info]
    return [
        File(f"{before}{info.path}{after}", info.size, info.mtime_ns or 0)
        for info in infos
        if info.type == pafs.FileType.File and not posixpath.basename(info.path).startswith((".", "_"))
    ]


def cut(file: File, kind: str, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
    """Cut a file into pieces of about `piece_bytes`; compressed text and CSV (quoted line ends) stay whole."""
    if kind == "parquet":
        return _cut_row_groups(file, piece_bytes)
    if kind == "jsonl" and file.compression is None:
        bounds = [*range(0, max(file.size, 1), piece_bytes), file.size]
        return [Piece(file, start, end) for start, end in pairwise(bounds)]
    return [Piece(file)]


def _cut_row_groups(file: File, piece_bytes: int) -> list[Piece]:
    filesystem, path = open_storage(file.uri)
    try:
        with filesystem.open_input_file(path) as stream:
            metadata = pq.ParquetFile(stream).metadata
    except (OSError, ValueError) as error:
        raise DataError(f"{file.uri}: not a readable Parquet file ({str(error).splitlines()[0]}).") from None
    pieces: list[Piece] = []
    start = size = 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        if size >= piece_bytes or group == metadata.num_row_groups - 1:
            pieces.append(Piece(file, start, group + 1))
            start, size = group + 1, 0
    return pieces
