"""Rows of one piece of a file, as Arrow batches of the columns that are asked for; a bad row costs that row.

A row that cannot be read becomes a `Bad` with its reason: `invalid_json`, `invalid_utf8`, `not_an_object`,
`duplicate_key`, `missing_column`, `wrong_type`, `not_finite`, `inexact_number`, `lone_surrogate`, `wrong_columns` and
`invalid_csv` (CSV), `too_large`. A column that no row has, or that two columns are named, is the recipe's mistake.
"""

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from polyglossa.artifact import open_storage
from polyglossa.errors import DataError, list_names
from polyglossa.readers.cells import TYPES, Cell, Reasons, column_of, column_of_arrow
from polyglossa.readers.delimited_rows import delimited_rows, read_dialect
from polyglossa.readers.json_rows import json_rows
from polyglossa.readers.pieces import Piece
from polyglossa.readers.rows import SHOWN, Bad
from polyglossa.whitespace import WHITESPACE

BATCH_ROWS = 8192
BATCH_BYTES = 32 * 2**20
MEMORY_BYTES = 128 * 2**20
"""Of a table that is read whole, before it is put into a file and mapped."""


@dataclass(frozen=True)
class Columns:
    """Columns that a reader must deliver, by name."""

    required: Mapping[str, Cell]
    optional: Mapping[str, Cell]

    @property
    def all(self) -> dict[str, Cell]:
        """Required and optional columns."""
        return {**self.required, **self.optional}


@dataclass(frozen=True)
class Batch:
    """Some rows: a table with all columns that were asked for (optional ones may be null), and the bad rows."""

    table: pa.Table
    bad: Sequence[Bad]
    notice: str | None = None
    """What a person should know of the file."""


def read_piece(piece: Piece, kind: str, columns: Columns, delimiter: str | None = None) -> Iterator[Batch]:
    """Read one piece.

    Args:
        piece: of which file.
        kind: its format.
        columns: what is read of it.
        delimiter: of CSV and TSV, where it is not to be read off the file.

    Raises:
        DataError: a required column is in no row or there twice, or a column of a typed file has the wrong type.
    """
    where = piece.file.uri
    if kind == "parquet":
        yield from _read_parquet(piece, columns)
    elif kind == "jsonl":
        yield from _batches(_of_objects(json_rows(piece, list(columns.all)), columns, where), columns)
    else:
        head, dialect = read_dialect(piece, kind, delimiter)
        if dialect.header:
            check_columns(columns, dialect.header, where, f" ({dialect.described})")
        places = [dialect.header.index(name) if name in dialect.header else None for name in columns.all]
        rows = delimited_rows(piece, head, dialect)
        notice = dialect.notice
        for batch in _batches((_picked(row, places) for row in rows), columns):
            yield Batch(batch.table, batch.bad, notice)
            notice = None


def batch_of(table: pa.Table, columns: Columns, where: str) -> Batch:
    """Take the columns out of a typed table."""
    check_columns(columns, table.column_names, where)
    arrays: dict[str, pa.Array] = {}
    found: list[Reasons] = []
    for name, cell in columns.all.items():
        if name in table.column_names:
            arrays[name], reasons = column_of_arrow(table[name], cell, f"{where}: column {name!r}")
            found += [reasons] if reasons is not None else []
        else:
            arrays[name] = pa.nulls(table.num_rows, TYPES[cell])
    return _sorted_out(arrays, found, [])


def _read_parquet(piece: Piece, columns: Columns) -> Iterator[Batch]:
    filesystem, path = open_storage(piece.file.uri)
    with filesystem.open_input_file(path) as stream:
        try:
            parquet = pq.ParquetFile(stream)
        except (OSError, ValueError) as error:
            raise DataError(f"{piece.file.uri}: not a readable Parquet file ({str(error).splitlines()[0]}).") from None
        check_columns(columns, parquet.schema_arrow.names, piece.file.uri)
        present = [name for name in columns.all if name in parquet.schema_arrow.names]
        end = parquet.num_row_groups if piece.end is None else piece.end
        for group in range(piece.start, end):
            rows = parquet.metadata.row_group(group)
            batch_rows = max(1, min(4 * BATCH_ROWS, BATCH_BYTES * rows.num_rows // max(rows.total_byte_size, 1)))
            for batch in _parquet_batches(parquet, batch_rows, group, present, piece.file.uri):
                yield batch_of(pa.Table.from_batches([batch]), columns, piece.file.uri)


def _parquet_batches(
    parquet: pq.ParquetFile, rows: int, group: int, names: Sequence[str], where: str
) -> Iterator[pa.RecordBatch]:
    try:
        yield from parquet.iter_batches(batch_size=rows, row_groups=[group], columns=list(names))
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{where}: row group {group} cannot be read ({str(error).splitlines()[0]}).") from None


def _of_objects(rows: Iterable[dict[str, Any] | Bad], columns: Columns, where: str) -> Iterator[list[Any] | Bad]:
    """Values of the wanted columns, row by row; a required column that not one of the first rows has is a mistake."""
    wanted, required = list(columns.all), list(columns.required)
    names: set[str] = set()
    seen = 0
    for row in rows:
        if isinstance(row, Bad):
            yield row
            continue
        if seen < BATCH_ROWS:
            names.update(row)
            seen += 1
            if seen == BATCH_ROWS:
                check_columns(columns, names, where)
        values = [row.get(name) for name in wanted]
        if None in values and any(name not in row for name in required):
            yield Bad("missing_column", _shown(row))
        else:
            yield values
    if names:
        check_columns(columns, names, where)


def _picked(row: list[str] | Bad, places: Sequence[int | None]) -> list[Any] | Bad:
    return row if isinstance(row, Bad) else [None if place is None else row[place] for place in places]


def _batches(rows: Iterable[list[Any] | Bad], columns: Columns) -> Iterator[Batch]:
    held: list[list[Any]] = []
    bad: list[Bad] = []
    size = 0
    for row in rows:
        if isinstance(row, Bad):
            bad.append(row)
        else:
            held.append(row)
            for value in row:
                size += len(value) if isinstance(value, str) else _size(value)
        if size >= BATCH_BYTES or len(bad) + len(held) >= BATCH_ROWS:
            yield _batch(held, bad, columns)
            held, bad, size = [], [], 0
    yield _batch(held, bad, columns)


def _size(value: Any) -> int:
    """Characters of a value, about."""
    return sum(len(one) if isinstance(one, str) else 64 for one in value) if isinstance(value, list) else 64


def _batch(rows: Sequence[Sequence[Any]], bad: Sequence[Bad], columns: Columns) -> Batch:
    arrays: dict[str, pa.Array] = {}
    found: list[Reasons] = []
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns.all)
    for (name, cell), column in zip(columns.all.items(), values, strict=True):
        arrays[name], reasons = column_of(column, cell)
        found += [reasons] if reasons is not None else []
    names = list(columns.all)
    shown = {
        place: _shown(dict(zip(names, rows[place], strict=True)))
        for reasons in found
        for place, reason in enumerate(reasons)
        if reason is not None
    }
    return _sorted_out(arrays, found, bad, shown)


def _sorted_out(
    arrays: Mapping[str, pa.Array], found: Sequence[Reasons], bad: Sequence[Bad], shown: Mapping[int, str] | None = None
) -> Batch:
    """Leave the rows out that have a reason in any column."""
    table = pa.table(dict(arrays))
    if not found:
        return Batch(table, bad)
    first = [next((reason for reason in reasons if reason is not None), None) for reasons in zip(*found, strict=True)]
    lost = [Bad(reason, (shown or {}).get(place, "")) for place, reason in enumerate(first) if reason is not None]
    return Batch(table.filter(pa.array([reason is None for reason in first])), [*bad, *lost])


def _shown(row: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS)[:SHOWN].decode("utf-8", "replace")
    except TypeError:  # surrogates, integers beyond 64 bits
        return repr(row)[:SHOWN].encode("utf-8", "backslashreplace").decode()


def check_columns(columns: Columns, present: Iterable[str], where: str, seen: str = "") -> None:
    """Check that required columns are there, and every wanted one once.

    Raises:
        DataError: not so.
    """
    counts = Counter(present)
    missing = [name for name in columns.required if name not in counts]
    if missing:
        raise DataError(
            f"{where}: has no column {missing[0]!r}; it has {list_names(sorted(counts))}{seen}. Map it in `columns`."
        )
    twice = [name for name in columns.all if counts[name] > 1]
    if twice:
        raise DataError(f"{where}: has {counts[twice[0]]} columns named {twice[0]!r}{seen}. Rename all but one.")


@dataclass(frozen=True)
class Whole:
    """All rows of a file that could be read, and what could not."""

    table: pa.Table
    bad: Counter[str]
    notices: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows that the file holds."""
        return self.table.num_rows + self.bad.total()


def whole(batches: Iterable[Batch], columns: Columns, kept: Sequence[str] = (), filled: Sequence[str] = ()) -> Whole:
    """Join batches; rows without one of the required columns' values are bad too (`empty`).

    What is more than `MEMORY_BYTES` lies in a file without a name, which the table maps: it goes with the table.

    Args:
        batches: of one file.
        columns: what was read of it.
        kept: which columns stay, where the others are only checked; none: all.
        filled: optional columns of texts that are empty where a row has none.
    """
    names = [name for name in columns.all if not kept or name in kept]
    schema = pa.schema([pa.field(name, TYPES[columns.all[name]]) for name in names])
    notices: list[str] = []
    bad: Counter[str] = Counter()

    def rows() -> Iterator[pa.Table]:
        for batch in batches:
            there = pa.array([True] * batch.table.num_rows)
            for name in columns.required:
                there = pc.and_(there, _is_filled(batch.table[name]))
            table = batch.table.select(names).filter(there)
            for name in set(filled) & set(names):
                place = names.index(name)
                table = table.set_column(place, schema.field(place), pc.fill_null(table[name], ""))
            bad.update(one.reason for one in batch.bad)
            bad.update({"empty": batch.table.num_rows - table.num_rows})
            notices.extend([batch.notice] if batch.notice else [])
            yield table.cast(schema)

    return Whole(_joined(rows(), schema), +bad, tuple(dict.fromkeys(notices)))


def _joined(tables: Iterator[pa.Table], schema: pa.Schema) -> pa.Table:
    """Join tables, in memory or in a file that only the result holds."""
    held = [schema.empty_table()]
    size = 0
    for table in tables:
        held.append(table)
        size += table.nbytes
        if size > MEMORY_BYTES:
            return _mapped(itertools.chain(held, tables), schema)
    return pa.concat_tables(held)


def _mapped(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    with tempfile.TemporaryDirectory(prefix="polyglossa-table-") as folder:
        path = f"{folder}/rows.arrow"
        with pa.OSFile(path, "wb") as stream, pa.ipc.new_file(stream, schema) as writer:
            for table in tables:
                writer.write_table(table)
        return pa.ipc.open_file(pa.memory_map(path)).read_all()  # pages stay until nobody maps them


def _is_filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    there = pc.is_valid(column)
    if not pa.types.is_string(column.type):
        return there
    return pc.and_(there, pc.fill_null(pc.invert(pc.match_substring_regex(column, f"^[{WHITESPACE}]*$")), False))
