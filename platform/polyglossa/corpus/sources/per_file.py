"""Entries whose every file is a source of its own, spelled out: what one entry of a recipe stands for, file by file.

Pure but for listing. The published data comes as 500 files, each with its own cap and its own batches, `x_part2` beside
`x` too; a recipe names them by a glob, and this turns the glob into entries.
"""

import posixpath
import re
from fnmatch import fnmatchcase
from typing import TypeVar

from polyglossa.errors import DataError
from polyglossa.readers.files import bare, list_files
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import FileSource, Source

Files = TypeVar("Files", bound=FileSource)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


def expand_sources(config: CorpusConfig) -> CorpusConfig:
    """Replace every entry with `per_file` or `exclude` by entries that name their files.

    Raises:
        DataError: an entry matches no file, or two files would be sources of one name.
    """
    if not any(isinstance(source, FileSource) and (source.per_file or source.exclude) for source in config.sources):
        return config
    sources = [one for source in config.sources for one in _entries(source, config.data)]
    names = [source.name for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"corpus: two entries hold a source {twice!r}; add its file to `exclude` of one of them.")
    return CorpusConfig.model_validate({**dict(config), "sources": tuple(sources)})


def source_name(uri: str) -> str:
    """Name a source after its file."""
    return _NOT_IN_NAMES.sub("_", posixpath.basename(bare(uri)).split(".")[0])


def _entries(source: Source, data: str) -> list[Source]:
    if not isinstance(source, FileSource) or not (source.per_file or source.exclude):
        return [source]
    files = [file.uri for file in list_files(source.files, f"corpus source {source.name!r}", data)]
    kept = [uri for uri in files if not _is_excluded(uri, source.exclude)]
    if not kept:
        raise DataError(f"corpus source {source.name!r}: `exclude` leaves no file of {len(files)}.")
    if not source.per_file:
        return [_with_name(source, source.name, kept)]
    return [_with_name(source, source_name(uri), [uri]) for uri in kept]


def _is_excluded(uri: str, patterns: tuple[str, ...]) -> bool:
    name = posixpath.basename(bare(uri))
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _with_name(source: Files, name: str, files: list[str]) -> Files:
    settled = {"name": name, "files": tuple(files), "per_file": False, "exclude": ()}
    return type(source).model_validate({**source.model_dump(), **settled})
