"""Sources of one pair per row, in columns of table files. The candidates are made by pure functions."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from polyglossa.corpus.sources.candidates import CANDIDATE, candidate_table
from polyglossa.corpus.sources.source import Reading, Shard
from polyglossa.corpus.sources.table_files import TableFiles, column_or_none, notices_of
from polyglossa.corpus.splits import parted
from polyglossa.readers.rows import Bad
from polyglossa.readers.tables import Batch, Columns
from polyglossa.recipe.sections.sources import DatasetSource, PairColumns, PairSource


class Pairs(TableFiles[PairSource]):
    """Pairs in files."""

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Read a batch at a time."""
        for batch in self.batches(shard, pair_columns(self.entry.columns)):
            yield reading_of_pairs(batch, self.entry)


def reading_of_pairs(batch: Batch, entry: PairSource | DatasetSource) -> Reading:
    """Turn a batch of pairs into candidates."""
    candidates, bad = pair_candidates(batch, entry)
    return Reading(candidates, [*batch.bad, *bad], notices_of(batch))


def pair_columns(columns: PairColumns) -> Columns:
    """What a reader must deliver for a mapping of columns."""
    required = {columns.query: "text", columns.positive: "texts", **dict.fromkeys(columns.negatives, "texts")}
    keys = (columns.group, columns.label, columns.split, columns.language, columns.positive_language, columns.script)
    required.update({name: "key" for name in keys if name})
    if columns.score:
        required[columns.score] = "number"
    if columns.instruction:
        required[columns.instruction] = "text"
    return Columns(required, {})  # type: ignore[arg-type]  # values are Cell names


def pair_candidates(batch: Batch, source: PairSource | DatasetSource) -> tuple[pa.Table, list[Bad]]:
    """Candidates of a batch with one pair per row, and the rows whose split is unknown."""
    columns = source.columns
    parts, bad = parted(batch.table, columns.split)
    tables = [_pairs(table, source, split) for split, table in parts]
    return (pa.concat_tables(tables) if tables else CANDIDATE.empty_table()), bad


def _pairs(table: pa.Table, source: PairSource | DatasetSource, split: str | None) -> pa.Table:
    columns = source.columns
    language = column_or_none(table, columns.language)
    return candidate_table(
        {
            "query": table[columns.query],
            "query_language": language,
            "query_script": column_or_none(table, columns.script),
            "positives": table[columns.positive],
            "positive_language": column_or_none(table, columns.positive_language or columns.language),
            "positive_script": column_or_none(table, columns.script) if not columns.positive_language else None,
            "negatives": join_lists([table[name] for name in columns.negatives]),
            "instruction": column_or_none(table, columns.instruction),
            "group": column_or_none(table, columns.group),
            "label": column_or_none(table, columns.label),
            "score": column_or_none(table, columns.score),
            "split": None if split is None else [split] * table.num_rows,
        },
        task=source.task,
        source=source.name,
    )


def join_lists(columns: Sequence[pa.ChunkedArray]) -> list[list[str] | None] | None:
    """Join list columns row by row, without nulls and empty texts; a row with none is null."""
    if not columns:
        return None
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    return [[text for texts in row for text in texts or () if text] or None for row in rows]


SOURCE = Pairs
