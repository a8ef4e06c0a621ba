"""Whole folders of any storage as local ones, for readers and writers that know paths alone (transformers)."""

import hashlib
import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs

from polyglossa.artifact import open_storage


def absolute(uri: str) -> str:
    """Make a local path absolute; a URI is."""
    return uri if "://" in uri else str(Path(uri).absolute())


@contextmanager
def local_folder(uri: str, *, weights: bool = True) -> Iterator[str]:
    """Give the folder behind a URI as a local path; a remote one is fetched, and removed when the block ends.

    Args:
        uri: the folder.
        weights: whether `.safetensors` files are fetched too.
    """
    filesystem, path = open_storage(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in _files(filesystem, path):
            if weights or not file.path.endswith(".safetensors"):
                target = Path(folder, posixpath.relpath(file.path, path))
                target.parent.mkdir(parents=True, exist_ok=True)
                pafs.copy_files(
                    file.path,
                    str(target),
                    source_filesystem=filesystem,
                    destination_filesystem=pafs.LocalFileSystem(),
                )
        yield folder


def cached_folder(uri: str) -> str:
    """Give the folder behind a URI as a local path that stays; a remote one is fetched once a node and content.

    Copies lie under `$XDG_CACHE_HOME/polyglossa/folders` (`~/.cache` without it); a changed folder is fetched anew.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    filesystem, path = open_storage(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        return path
    place = hashlib.sha256(uri.encode()).hexdigest()[:16]
    name = f"{place}-{revision_of(uri)}"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyglossa/folders"
    if not (home / name).is_dir():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as fetched:
            local = str(Path(fetched) / name)
            os.mkdir(local)
            pafs.copy_files(path, local, source_filesystem=filesystem, destination_filesystem=pafs.LocalFileSystem())
            try:
                os.rename(local, home / name)
            except OSError:  # another process of this node was faster
                if not (home / name).is_dir():
                    raise
    return str(home / name)


def revision_of(uri: str) -> str:
    """Name a folder's content by sixteen hex digits that are quick to tell: its files' names, sizes and times.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    filesystem, path = open_storage(uri)
    told = sorted((posixpath.relpath(one.path, path), one.size, one.mtime_ns) for one in _files(filesystem, path))
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


@contextmanager
def writable_folder(uri: str) -> Iterator[str]:
    """Give a local folder to write to; it reaches the URI when the block ends, and not if it ends in an error."""
    filesystem, path = open_storage(uri)
    with tempfile.TemporaryDirectory() as folder:
        yield folder
        filesystem.create_dir(path, recursive=True)
        pafs.copy_files(folder, path, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=filesystem)


def copy_folder(source: str, target: str) -> None:
    """Copy a folder from storage to storage; files that lie at the target under other names stay."""
    (filesystem, path), (other, place) = open_storage(source), open_storage(target)
    other.create_dir(place, recursive=True)
    pafs.copy_files(path, place, source_filesystem=filesystem, destination_filesystem=other)


def place_file(source: str, target: str) -> None:
    """Give a file a second place on the same storage: under another name where it can be, else as a copy."""
    filesystem, path = open_storage(source)
    _, place = open_storage(target)
    if isinstance(filesystem, pafs.LocalFileSystem):
        try:
            os.link(path, place)
            return
        except OSError:  # a file system without hard links
            pass
    filesystem.copy_file(path, place)


def _files(filesystem: pafs.FileSystem, path: str) -> list[pafs.FileInfo]:
    found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    return [one for one in found if one.type == pafs.FileType.File]
