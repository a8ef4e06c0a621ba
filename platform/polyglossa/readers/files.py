"""Expand a recipe's paths, globs and URIs to files, and read their suffixes. Pure but for listing."""

import fnmatch
import glob
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

from polyglossa.artifact import open_storage
from polyglossa.errors import DataError
from polyglossa.readers.formats import BY_SUFFIX, COMPRESSIONS


@dataclass(frozen=True, order=True)
class File:
    """A file as it was listed; size and time tell whether it changed since."""

    uri: str
    size: int
    modified: int
    """Nanoseconds since 1970."""

    @classmethod
    def at(cls, path: Path) -> "File":
        """List a file of this machine."""
        facts = path.stat()
        return cls(str(path.absolute()), facts.st_size, facts.st_mtime_ns)

    @property
    def compression(self) -> str | None:
        """Arrow's name of the compression, or None, by the suffix."""
        return COMPRESSIONS.get(posixpath.splitext(bare(self.uri))[1].lower())

    @property
    def format(self) -> str | None:
        """`jsonl`, `csv`, `tsv`, `parquet` or None, by the suffix before the compression's."""
        path = bare(self.uri)
        return BY_SUFFIX.get(posixpath.splitext(posixpath.splitext(path)[0] if self.compression else path)[1].lower())


def bare(uri: str) -> str:
    """The path of a URI, without the query that names an endpoint."""
    return uri.partition("?")[0] if "://" in uri else uri


def list_files(patterns: Iterable[str], who: str = "", folder: str = "") -> list[File]:
    """List what the patterns match, each file once, sorted.

    Args:
        patterns: paths, globs or URIs.
        who: begins the message where nothing is there; empty: the pattern says enough.
        folder: where relative paths start; empty: the working directory.

    Raises:
        DataError: a pattern matches nothing.
    """
    found: set[File] = set()
    for pattern in patterns:
        files = _list(under(folder, pattern))
        if not files:
            raise DataError(f"{who}{': ' if who else ''}{pattern} matches no file.")
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
