"""Rows of one piece of a file, as Arrow batches of the columns that are asked for; a bad row costs that row.

A row that cannot be read becomes a `Bad` with its reason: `invalid_json`, `invalid_utf8`, `not_an_object`,
`missing_column`, `wrong_type`, `wrong_columns` (CSV), `too_large`. A column that no row has is the recipe's mistake.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from polyglossa.artifact import open_storage
from polyglossa.corpus.files import Piece
from polyglossa.corpus.text_rows import SHOWN, Bad, csv_rows, json_rows
from polyglossa.errors import DataError

BATCH_ROWS = 8192
BATCH_BYTES = 32 * 2**20
_TEXTS = pa.list_(pa.string())

Cell = Literal["text", "texts", "key", "number"]
"""What a column holds: a text; a text or a list of texts; a short string or a number read as one; a number."""
_TYPES: dict[str, pa.DataType] = {"text": pa.string(), "texts": _TEXTS, "key": pa.string(), "number": pa.float32()}


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


class _BadCell(Exception):
    """A value that its column cannot hold."""


def read_piece(piece: Piece, kind: str, columns: Columns) -> Iterator[Batch]:
    """Read one piece.

    Raises:
        DataError: a required column is in no row, or a column of a typed file has the wrong type.
    """
    if kind == "parquet":
        yield from _read_parquet(piece, columns)
    elif kind == "jsonl":
        yield from _batches(json_rows(piece), columns, piece.file.uri)
    else:
        yield from _batches(csv_rows(piece, "\t" if kind == "tsv" else ","), columns, piece.file.uri)


def batch_of(table: pa.Table, columns: Columns, where: str) -> Batch:
    """Take the columns out of a typed table."""
    _check_columns(columns, table.column_names, where)
    values: dict[str, pa.ChunkedArray] = {}
    bad = pa.nulls(table.num_rows, pa.bool_()).fill_null(False)
    for name, cell in columns.all.items():
        if name in table.column_names:
            values[name], broken = _typed(table[name], cell, f"{where}: column {name!r}")
            bad = pc.or_(bad, broken)
        else:
            values[name] = pa.nulls(table.num_rows, _TYPES[cell])
    result = pa.table(values)
    rejected = [Bad("invalid_utf8", "")] * pc.sum(bad).as_py() if table.num_rows else []
    return Batch(result.filter(pc.invert(bad)) if rejected else result, rejected)


def _typed(column: pa.ChunkedArray, cell: Cell, where: str) -> tuple[pa.ChunkedArray, pa.Array]:
    """The column as its cell type, and which of its rows hold invalid UTF-8."""
    none = pa.nulls(len(column), pa.bool_()).fill_null(False)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    leaf = column.type.value_type if is_list else column.type
    textual = pa.types.is_string(leaf) or pa.types.is_large_string(leaf) or pa.types.is_null(leaf)
    if (cell in ("text", "texts") and not textual) or (is_list and cell != "texts"):
        raise DataError(f"{where} holds {column.type}, not {'text' if cell != 'number' else 'a number'}.")
    if textual and not is_list:
        column, none = _valid_utf8(column)
    try:
        if cell == "texts" and not is_list:
            return _wrapped(column.cast(pa.string())), none
        return column.cast(_TYPES[cell]), none
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{where} holds {column.type}, which cannot be read as {cell}.") from None


def _wrapped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each text as a list of one; a null as no list."""
    flat = column.combine_chunks()
    offsets = pa.array(range(len(flat) + 1), pa.int32())
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, flat, mask=flat.is_null())])


def _valid_utf8(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.Array]:
    none = pa.nulls(len(column), pa.bool_()).fill_null(False)
    try:
        column.validate(full=True)
        return column, none
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        broken: list[bool] = []
        for value in column.cast(pa.large_binary()).to_pylist():
            text = None if value is None else value.decode("utf-8", "replace")
            broken.append(value is not None and text is not None and text.encode() != value)
            texts.append(text)
        return pa.chunked_array([pa.array(texts, pa.string())]), pa.array(broken)


def _read_parquet(piece: Piece, columns: Columns) -> Iterator[Batch]:
    filesystem, path = open_storage(piece.file.uri)
    with filesystem.open_input_file(path) as stream:
        parquet = pq.ParquetFile(stream)
        _check_columns(columns, parquet.schema_arrow.names, piece.file.uri)
        present = [name for name in columns.all if name in parquet.schema_arrow.names]
        end = parquet.num_row_groups if piece.end is None else piece.end
        for group in range(piece.start, end):
            rows = parquet.metadata.row_group(group)
            batch_rows = max(1, min(4 * BATCH_ROWS, BATCH_BYTES * rows.num_rows // max(rows.total_byte_size, 1)))
            for batch in parquet.iter_batches(batch_size=batch_rows, row_groups=[group], columns=present):
                yield batch_of(pa.Table.from_batches([batch]), columns, piece.file.uri)


def _batches(rows: Iterable[dict[str, Any] | Bad], columns: Columns, where: str) -> Iterator[Batch]:
    values: dict[str, list[Any]] = {name: [] for name in columns.all}
    bad: list[Bad] = []
    names: set[str] = set()
    size = 0
    for row in rows:
        if isinstance(row, Bad):
            bad.append(row)
        else:
            names.update(row)
            cells = _cells(row, columns)
            if isinstance(cells, Bad):
                bad.append(cells)
            else:
                for name, value in cells.items():
                    values[name].append(value)
                    size += len(value) if isinstance(value, str) else 64
        if size >= BATCH_BYTES or len(bad) + len(next(iter(values.values()))) >= BATCH_ROWS:
            if names:
                _check_columns(columns, names, where)
            yield _batch(values, bad, columns)
            values, bad, size = {name: [] for name in columns.all}, [], 0
    if names:
        _check_columns(columns, names, where)
    yield _batch(values, bad, columns)


def _batch(values: Mapping[str, list[Any]], bad: Sequence[Bad], columns: Columns) -> Batch:
    return Batch(pa.table({name: pa.array(values[name], _TYPES[cell]) for name, cell in columns.all.items()}), bad)


def _cells(row: Mapping[str, Any], columns: Columns) -> dict[str, Any] | Bad:
    missing = [name for name in columns.required if name not in row]
    if missing:
        return Bad("missing_column", _shown(row))
    try:
        return {name: _cell(row.get(name), cell) for name, cell in columns.all.items()}
    except _BadCell:
        return Bad("wrong_type", _shown(row))


def _cell(value: Any, cell: Cell) -> Any:
    if value is None:
        return None
    if cell == "text" and isinstance(value, str):
        return value
    if cell == "texts":
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list) and all(text is None or isinstance(text, str) for text in texts):
            return texts
    if cell == "key" and isinstance(value, str | int | float):
        return str(value)
    if cell == "number" and isinstance(value, str | int | float):
        return _number(value)
    raise _BadCell


def _number(value: str | int | float) -> float:
    try:
        return float(value)
    except ValueError:
        raise _BadCell from None


def _shown(row: Mapping[str, Any]) -> str:
    return orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS)[:SHOWN].decode("utf-8", "replace")


def _check_columns(columns: Columns, present: Iterable[str], where: str) -> None:
    names = sorted(set(present))
    missing = [name for name in columns.required if name not in names]
    if missing:
        raise DataError(
            f"{where}: has no column {missing[0]!r}; it has {', '.join(names) or 'none'}. Map it in `columns`."
        )
