"""What a kind of source is to the corpus: how it is cut into shards, and what a shard holds.

To add a kind: a model with its `kind` in `recipe/sections/sources.py`, and beside this file `<kind>.py` with a subclass
of `CorpusSource` under the name `SOURCE`.

A shard is what one task reads: some bytes or row groups of a file, a part (by hash) of a source whose rows belong
together, or an embedded source. Shards depend on files and recipe alone, never on workers.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

import pyarrow as pa

from polyglossa.corpus.sources.heldout_set import HeldoutSet
from polyglossa.readers.pieces import Piece
from polyglossa.readers.rows import Bad
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import EmbeddedSource, ReadSource, Source

Entry = TypeVar("Entry", bound=EmbeddedSource | ReadSource)

PART_BYTES = 256 * 2**20
"""Sources whose rows belong together are split into parts of about this size."""
EMBEDDED_BYTES = 32 * 2**20
"""What an embedded source counts for when buckets are sized."""


@dataclass(frozen=True)
class Shard:
    """What one task reads."""

    source: int
    """Index of the recipe entry."""
    pieces: tuple[Piece, ...] = ()
    part: int = 0
    parts: int = 1
    size: int = 0
    """Bytes as stored, about."""

    def identity(self) -> dict[str, Any]:
        """What tells this shard from any other, and from itself before its files changed."""
        return asdict(self)


@dataclass(frozen=True)
class Reading:
    """Some rows of a shard: candidates, and rows that could not be read."""

    candidates: pa.Table
    bad: Sequence[Bad] = ()
    notices: Sequence[str] = ()
    """What a person should know of the files."""
    heldout: HeldoutSet | None = None
    """The search that the source itself holds out, with one of its readings."""


class CorpusSource(ABC, Generic[Entry]):
    """One entry of a recipe's `corpus.sources`, of one kind."""

    checks_languages = True
    """Whether languages of rows are held to ISO 639: of data that people bring."""

    def __init__(self, entry: Entry, config: CorpusConfig) -> None:
        """Take an entry; nothing is read yet.

        Args:
            entry: what the recipe says of the source.
            config: of the whole corpus: folder, seed, shares.
        """
        self.entry, self.config = entry, config

    @abstractmethod
    def shards(self, index: int) -> list[Shard]:
        """Cut the source into shards; `index` is the entry's place in the recipe.

        Raises:
            DataError: files are missing or of an unknown format.
        """

    @abstractmethod
    def read(self, shard: Shard) -> Iterator[Reading]:
        """Read a shard, a batch at a time where its layout allows.

        Raises:
            DataError: a column of the recipe is not in the data.
        """


def open_corpus_source(entry: Source, config: CorpusConfig) -> "CorpusSource[Any]":
    """Make the reader of an entry: `SOURCE` of the module that is named like its kind."""
    source: type[CorpusSource[Any]] = import_module(f"polyglossa.corpus.sources.{entry.kind}").SOURCE
    return source(entry, config)


def whole_parts(index: int, pieces: Sequence[Piece], size: int) -> list[Shard]:
    """Cut a source whose rows belong together: every shard reads all pieces, and keeps its part by hash."""
    parts = -(-size // PART_BYTES)
    return [Shard(index, tuple(pieces), part, parts, size // parts) for part in range(parts)]
