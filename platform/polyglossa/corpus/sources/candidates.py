"""Candidates: what every reader hands on, one row per example, texts written out, before any rule has judged it.

A candidate that a rule drops becomes a reject; the others become a `Pair` and its `Document`s. `split` is set where the
source itself divides its rows; `instruction` where it brings one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from polyglossa.corpus.splits import parted
from polyglossa.readers.rows import Bad

CANDIDATE = pa.schema(
    [
        pa.field("query", pa.string()),
        pa.field("query_language", pa.string()),
        pa.field("query_script", pa.string()),
        pa.field("positives", pa.list_(pa.string())),
        pa.field("positive_language", pa.string()),
        pa.field("positive_script", pa.string()),
        pa.field("negatives", pa.list_(pa.string())),
        pa.field("task", pa.string(), nullable=False),
        pa.field("instruction", pa.string()),
        pa.field("group", pa.string()),
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("split", pa.string()),
        pa.field("source", pa.string(), nullable=False),
    ]
)


def candidate_table(columns: Mapping[str, Sequence[Any] | pa.Array], *, task: str, source: str) -> pa.Table:
    """Build a candidate table; columns that are left out are null."""
    rows = len(columns["query"])
    constants = {"task": pa.repeat(pa.scalar(task), rows), "source": pa.repeat(pa.scalar(source), rows)}
    return pa.table([_column(columns, constants, field, rows) for field in CANDIDATE], schema=CANDIDATE)


def _column(
    columns: Mapping[str, Sequence[Any] | pa.Array], constants: Mapping[str, pa.Array], field: pa.Field, rows: int
) -> pa.Array | pa.ChunkedArray:
    values = columns.get(field.name, constants.get(field.name))
    if values is None:
        return pa.nulls(rows, field.type)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == field.type else values.cast(field.type)
    return pa.array(values, field.type)


def candidates_by_split(
    table: pa.Table, column: str | None, read: Callable[[pa.Table, str | None], tuple[pa.Table, list[Bad]]]
) -> tuple[pa.Table, list[Bad]]:
    """Make candidates of each split's rows apart, so that texts of two splits never meet.

    Args:
        table: rows.
        column: holds the splits; None: no column does.
        read: rows and their split → candidates, and what is none.

    Returns:
        `CANDIDATE`, and everything that is none, rows of unknown splits first.
    """
    parts, bad = parted(table, column)
    tables = [CANDIDATE.empty_table()]
    for split, rows in parts:
        candidates, unusable = read(rows, split)
        tables.append(candidates)
        bad += unusable
    return pa.concat_tables(tables), bad
