"""Rejects: what is kept of a row that was dropped. The row as JSON with long texts cut, its source and the reason."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from polyglossa.records import REJECT
from polyglossa.scratch.task_store import TaskStore, write_table

SHOWN = 400
"""Texts of rejected rows are cut here (characters)."""
_SHOWN_TEXTS = 4

Reasons = np.ndarray
"""One reason or None per row."""
Rejected = tuple[str, str, str, str]
"""Source, stage, reason and what is shown of a row."""


def unreadable(source: str, reason: str, row: str) -> Rejected:
    """A row that no reader could make a candidate of."""
    return source, "corpus", reason, row[:SHOWN]


def reject_rows(table: pa.Table, reasons: Reasons) -> list[Rejected]:
    """Rejects of the candidates that have a reason."""
    places = [place for place, reason in enumerate(reasons) if reason is not None]
    return list(drop_rows(table.take(places), [reasons[place] for place in places])) if places else []


def drop_rows(rows: pa.Table, reasons: Sequence[str]) -> Iterable[Rejected]:
    """Rejects of rows, all of which are dropped."""
    columns = rows.select(["query", "positives", "negatives", "query_language", "label"])
    shown = (orjson.dumps(_shorten(row)).decode() for row in columns.to_pylist())
    return ((source, "corpus", *both) for source, *both in zip(rows["source"].to_pylist(), reasons, shown, strict=True))


def _shorten(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value[:SHOWN] if isinstance(value, str) else [text and text[:SHOWN] for text in value[:_SHOWN_TEXTS]]
        for name, value in row.items()
        if value is not None
    }


def reject_table(rejects: Iterable[Rejected]) -> pa.Table:
    """Write rejects, sorted."""
    rows = sorted(rejects)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(REJECT)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, REJECT, strict=True)]
    return pa.table(arrays, schema=REJECT)


def write_rejects(work: TaskStore, rejects: pa.Table) -> dict[str, Any]:
    """Write the rejects of a piece of work, if there are any; its figures: source → reason → rows."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for source, reason in zip(rejects["source"].to_pylist(), rejects["reason"].to_pylist(), strict=True):
        counts[source][reason] += 1
    if rejects.num_rows:
        write_table(rejects, work.at("rejects.parquet"))
    return {"rejects": {source: dict(reasons) for source, reasons in counts.items()}}
