"""Sources in table files: what their kinds share."""

from collections.abc import Iterator
from typing import Any, TypeVar

import pyarrow as pa

from polyglossa.corpus.sources.source import CorpusSource, Shard, whole_parts
from polyglossa.corpus.sources.translations import draw
from polyglossa.readers.files import list_files
from polyglossa.readers.pieces import PIECE_BYTES, cut
from polyglossa.readers.rows import Bad
from polyglossa.readers.survey import format_of
from polyglossa.readers.tables import Batch, Columns, read_piece
from polyglossa.recipe.sections.sources import FileSource

Files = TypeVar("Files", bound=FileSource)


class TableFiles(CorpusSource[Files]):
    """A source whose rows lie in table files."""

    @property
    def whole(self) -> bool:
        """Whether rows of different pieces belong together."""
        return False

    def shards(self, index: int) -> list[Shard]:
        """Take a piece of a file a shard, or parts by hash where rows belong together."""
        files = list_files(self.entry.files, f"corpus source {self.entry.name!r}", self.config.data)
        kinds = {file: format_of(file, self.entry.format) for file in files}
        pieces = [piece for file in files for piece in cut(file, kinds[file])]
        if self.whole:
            return whole_parts(index, pieces, sum(file.size for file in files))
        return [Shard(index, (piece,), size=min(piece.file.size, PIECE_BYTES)) for piece in pieces]

    def batches(self, shard: Shard, columns: Columns) -> Iterator[Batch]:
        """Read the columns of a shard's pieces."""
        for piece in shard.pieces:
            yield from read_piece(piece, format_of(piece.file, self.entry.format), columns, self.entry.delimiter)


def gather_part(
    source: TableFiles[Any], shard: Shard, columns: Columns, key: str
) -> tuple[pa.Table, list[Bad], list[str]]:
    """Read all rows of a shard's part.

    Returns:
        The rows, those of all pieces that could not be read (told by the first part alone), and notices.
    """
    unreadable: list[Bad] = []
    notices: list[str] = []
    tables: list[pa.Table] = []
    for batch in source.batches(shard, columns):
        unreadable += batch.bad if shard.part == 0 else ()
        notices += notices_of(batch)
        tables.append(part_of(batch.table, key, shard))
    return pa.concat_tables(tables), unreadable, notices


def notices_of(batch: Batch) -> tuple[str, ...]:
    """What a person should know of a batch's file."""
    return (batch.notice,) if batch.notice else ()


def part_of(table: pa.Table, key: str, shard: Shard) -> pa.Table:
    """Keep the rows of a shard's part, by the hash of a column."""
    if shard.parts == 1:
        return table
    mine = [draw(0, value or "") % shard.parts == shard.part for value in table[key].to_pylist()]
    return table.filter(pa.array(mine, pa.bool_()))


def column_or_none(table: pa.Table, name: str | None) -> pa.ChunkedArray | None:
    """Take a column that the recipe may leave out."""
    return None if name is None else table[name]
