"""Whole folders of any storage as local ones, for readers and writers that know paths alone (transformers)."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.fs as pafs

from polyglossa.artifact import open_storage


@contextmanager
def local_folder(uri: str) -> Iterator[str]:
    """Give the folder behind a URI as a local path; a remote one is fetched, and removed when the block ends."""
    filesystem, path = open_storage(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        pafs.copy_files(path, folder, source_filesystem=filesystem, destination_filesystem=pafs.LocalFileSystem())
        yield folder


@contextmanager
def written_folder(uri: str) -> Iterator[str]:
    """Give a local folder to write to; it reaches the URI when the block ends, and not if it ends in an error."""
    filesystem, path = open_storage(uri)
    with tempfile.TemporaryDirectory() as folder:
        yield folder
        filesystem.create_dir(path, recursive=True)
        pafs.copy_files(folder, path, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=filesystem)
