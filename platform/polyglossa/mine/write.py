"""Write what the units found: `MINED_PAIR` tables, rejects, the audit. Rows in = rows out + rejects, by source."""

import json
from collections import Counter
from collections.abc import Mapping
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
from polyglossa.mine.pools import Rows
from polyglossa.mine.tables import write_table, write_text
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import MINED_PAIR, REJECT, RESCORED_PAIR

Ints = npt.NDArray[np.int64]

_STAGE = "mine"
_CUT = 400  # characters of a text in a reject


def write_outcome(
    draft: Draft,
    config: MineConfig,
    rows: Rows,
    documents: pa.Table,
    found: pa.Table,
    spoilt: npt.NDArray[np.object_],
    reasons: dict[int, str],
    figures: Mapping[str, int],
) -> None:
    """Write pairs, rejects, audit and figures into the draft.

    Args:
        draft: the artifact in the making.
        config: settings of the recipe.
        rows: all rows.
        documents: sorted by id.
        found: what the units returned.
        spoilt: reason why a document could be no candidate, or None.
        reasons: rows rejected before they were searched: number → reason.
        figures: what embedding counted.
    """
    named = found.filter(pc.is_valid(found.column("reason")))
    reasons |= dict(zip(named.column("row").to_pylist(), named.column("reason").to_pylist(), strict=True))
    pairs = attach_negatives(rows, found, documents)
    stays = np.ones(len(pairs), bool)
    stays[list(reasons)] = False
    kept = {
        source: pairs.slice(start, stop - start).filter(pa.array(stays[start:stop]))
        for source, (start, stop) in rows.source_offsets.items()
    }
    for source, table in kept.items():
        write_table(table, draft.at("pairs", source, "part-00000.parquet"))
    rejects = pa.concat_tables([row_rejects(pairs, reasons), document_rejects(documents, spoilt)])
    write_table(rejects, draft.at("rejects", "part-00000.parquet"))
    audited = audit(rows, documents, found, config.negatives)
    if config.rescore is not None:
        add_rescored(audited, rows, documents, found, config.rescore)
    draft.write_json(audited, "audit.json")
    write_text(draft.at("report", "mining.html"), page(audited))
    draft.count(
        **reconcile(pairs, kept, reasons),
        mined=len(found),
        documents_refused=int((spoilt != np.array(None)).sum()),
        **figures,
    )


def attach_negatives(rows: Rows, found: pa.Table, documents: pa.Table) -> pa.Table:
    """Give every row its negatives.

    Args:
        rows: all rows.
        found: what the units returned, one row per mined row (see `unit.mine_unit`).
        documents: sorted by id.

    Returns:
        All rows as `MINED_PAIR` (`RESCORED_PAIR` where they were re-scored), rejected ones included. A row that was not
        mined keeps the negatives it brought, and has no scores.
    """
    schema = RESCORED_PAIR if "candidate_scores" in found.column_names else MINED_PAIR
    place = np.full(len(rows.table), -1, np.int64)
    place[found.column("row").to_numpy()] = np.arange(len(found))
    missing = pa.array(place, mask=place < 0)
    numbers = found.column("negatives").combine_chunks()
    ids = documents.column("doc_id").combine_chunks().take(numbers.values)
    mined = pa.ListArray.from_arrays(numbers.offsets, ids)
    given = rows.table.column("negative_ids").combine_chunks()
    either = np.where(place < 0, np.arange(len(rows.table)), len(given) + place)
    columns = {name: rows.table.column(name) for name in rows.table.column_names}
    columns["negative_ids"] = pa.chunked_array([pa.concat_arrays([given, mined.cast(given.type)])]).take(
        pa.array(either)
    )
    columns["negative_scores"] = found.column("negative_scores").take(missing)
    for name in schema.names[len(MINED_PAIR) - 1 :]:
        columns[name] = found.column(name).take(missing)
    return pa.table({name: columns[name] for name in schema.names}).cast(schema)


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


def document_rejects(documents: pa.Table, reason: npt.NDArray[np.object_]) -> pa.Table:
    """Describe documents that could be no candidate."""
    number = np.flatnonzero(reason != np.array(None))
    described = documents.select(["source", "doc_id", "text", "language"]).take(pa.array(number))
    return _rejects(
        described.column("source").to_pylist(), reason[number].tolist(), [_plain(row) for row in described.to_pylist()]
    )


def reconcile(pairs: pa.Table, kept: Mapping[str, pa.Table], reasons: Mapping[int, str]) -> dict[str, Any]:
    """Count rows in, rows out and rejects by reason.

    Raises:
        PolyglossaError: rows in ≠ rows out + rejects.
    """
    out = sum(len(table) for table in kept.values())
    if len(pairs) != out + len(reasons):
        raise PolyglossaError(f"mine: {len(pairs)} rows in, but {out} out and {len(reasons)} rejected.")
    return {"rows_in": len(pairs), "rows_out": out, "rejects": dict(sorted(Counter(reasons.values()).items()))}


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
