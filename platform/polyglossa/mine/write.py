"""Say what the units found: what becomes of each row, rejects, the audit. Rows in = rows out + rejects."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.artifact import Draft
from polyglossa.errors import PolyglossaError
from polyglossa.mine.audit.figures import audit
from polyglossa.mine.audit.page import page
from polyglossa.mine.audit.rescored import add_rescored
from polyglossa.mine.gathering.steps import outcome_schema
from polyglossa.mine.pools import Rows
from polyglossa.mine.tables import write_table, write_text
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import MINED_PAIR, REJECT

Ints = npt.NDArray[np.int64]

_STAGE = "mine"
_CUT = 400  # characters of a text in a reject


@dataclass(frozen=True)
class Mined:
    """What was found of one part."""

    rows: Rows
    documents: pa.Table
    """Sorted by id."""
    found: pa.Table
    """What the units returned, one row per mined row (see `unit.mine_unit`)."""
    spoilt: npt.NDArray[np.object_]
    """Why a document could be no candidate, or None."""
    reasons: Mapping[int, str]
    """Rows that are rejected: number → reason."""
    figures: Mapping[str, int]

    def outcome(self, schema: pa.Schema = MINED_PAIR) -> pa.Table:
        """Say what mining did to the rows that it mined or rejected, for rows that are written as this schema."""
        return outcome_of(self.rows, self.documents, self.found, self.reasons, schema)


class Report:
    """Takes part after part: writes rejects, adds up figures and the audit."""

    def __init__(self, draft: Draft, config: MineConfig) -> None:
        self._draft, self._config = draft, config
        self._audit: dict[str, Any] | None = None
        self._figures: Counter[str] = Counter()
        self._rejects: Counter[str] = Counter()
        self._refused: set[bytes] = set()
        self._mined = self._parts = 0

    def add(self, mined: Mined) -> None:
        """Take a part: its rejects into a file of their own, the rest into the sums."""
        rows, documents = mined.rows, mined.documents
        spoilt = np.flatnonzero(mined.spoilt != np.array(None))
        ids = documents.column("doc_id").take(pa.array(spoilt)).to_pylist()
        told = {int(row): mined.spoilt[row] for row, name in zip(spoilt, ids, strict=True) if name not in self._refused}
        self._refused.update(ids)
        rejects = pa.concat_tables([row_rejects(rows.table, mined.reasons), document_rejects(documents, told)])
        write_table(rejects, self._draft.at("rejects", f"part-{self._parts:05d}.parquet"))
        audited = audit(rows, documents, mined.found, self._config.negatives)
        if self._config.rescore is not None:
            add_rescored(audited, rows, documents, mined.found, self._config.rescore)
        if self._audit is None:
            self._audit = audited
        for figure in ("sources", "recall"):
            self._audit[figure] |= audited[figure]
        self._figures.update(mined.figures)
        self._mined += len(mined.found)
        self._rejects.update(mined.reasons.values())
        self._parts += 1

    def write(self, rows_in: int, rows_out: int, **figures: int) -> None:
        """Write audit, page and figures, and what else is counted of the whole run.

        Raises:
            PolyglossaError: rows in ≠ rows out + rejects.
        """
        assert self._audit is not None
        self._draft.write_json(self._audit, "audit.json")
        write_text(self._draft.at("report", "mining.html"), page(self._audit))
        self._draft.count(mined=self._mined, documents_refused=len(self._refused))
        self._draft.count(**reconcile(rows_in, rows_out, self._rejects), **self._figures, **figures)


def rejected(found: pa.Table) -> dict[int, str]:
    """Rows that the search rejected: number → reason."""
    named = found.filter(pc.is_valid(found.column("reason")))
    return dict(zip(named.column("row").to_pylist(), named.column("reason").to_pylist(), strict=True))


def outcome_of(
    rows: Rows, documents: pa.Table, found: pa.Table, reasons: Mapping[int, str], schema: pa.Schema = MINED_PAIR
) -> pa.Table:
    """Say what mining did to the rows that it mined or rejected (`gathering.steps.outcome_schema`).

    Args:
        rows: rows of the run, with file and place.
        documents: sorted by id.
        found: what the units returned, one row per mined row (see `unit.mine_unit`).
        reasons: rows that are rejected: number → reason.
        schema: of the rows that are written; what it has beside a pair's columns is taken from `found`.
    """
    mined = found.column("row").to_numpy()
    alone = np.setdiff1d(np.array(sorted(reasons), np.int64), mined)
    number = np.concatenate([mined, alone])
    numbers = found.column("negatives").combine_chunks()
    ids = documents.column("doc_id").combine_chunks().take(numbers.values)
    place = pa.array(np.arange(len(number)), mask=np.arange(len(number)) >= len(mined))
    columns = {
        "file": rows.table.column("file").take(pa.array(number)),
        "place": rows.table.column("place").take(pa.array(number)),
        "rejected": pa.array(np.isin(number, np.array(list(reasons), np.int64))),
        "mined": pa.array(np.arange(len(number)) < len(mined)),
        "negative_ids": pa.ListArray.from_arrays(numbers.offsets, ids).take(place),
    }
    outcome = outcome_schema(schema)
    columns |= {name: found.column(name).take(place) for name in outcome.names if name not in columns}
    return pa.table([columns[name] for name in outcome.names], names=outcome.names).cast(outcome)


def row_rejects(pairs: pa.Table, reasons: Mapping[int, str]) -> pa.Table:
    """Describe rejected rows: row number → reason."""
    rows = sorted(reasons)
    described = pairs.select(["source", "pair_id", "query", "language", "positive_ids"]).take(
        pa.array(rows, pa.int64())
    )
    return _rejects(
        described.column("source").to_pylist(),
        [reasons[row] for row in rows],
        [_plain(row) for row in described.to_pylist()],
    )


def document_rejects(documents: pa.Table, reasons: Mapping[int, str]) -> pa.Table:
    """Describe documents that could be no candidate: number → reason."""
    numbers = sorted(reasons)
    described = documents.select(["source", "doc_id", "text", "language"]).take(pa.array(numbers, pa.int64()))
    return _rejects(
        described.column("source").to_pylist(),
        [reasons[number] for number in numbers],
        [_plain(row) for row in described.to_pylist()],
    )


def reconcile(rows_in: int, rows_out: int, rejects: Counter[str]) -> dict[str, Any]:
    """Count rows in, rows out and rejects by reason.

    Raises:
        PolyglossaError: rows in ≠ rows out + rejects.
    """
    if rows_in != rows_out + rejects.total():
        raise PolyglossaError(f"mine: {rows_in} rows in, but {rows_out} out and {rejects.total()} rejected.")
    return {"rows_in": rows_in, "rows_out": rows_out, "rejects": dict(sorted(rejects.items()))}


def _rejects(sources: list[str], reasons: list[str], rows: list[dict[str, Any]]) -> pa.Table:
    text = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    return pa.table(
        [pa.array(column, pa.string()) for column in (sources, [_STAGE] * len(rows), reasons, text)], schema=REJECT
    )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Make a row readable as JSON: ids in hex, texts cut."""
    return {key: _readable(value) for key, value in row.items() if value is not None}


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value[:_CUT] if isinstance(value, str) else value
