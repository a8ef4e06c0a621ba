"""Look at a file without knowing its columns: its first rows, how many there are, how many cannot be read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from polyglossa.artifact import open_storage
from polyglossa.errors import DataError
from polyglossa.readers.delimited_rows import USUAL, delimited_rows, read_dialect
from polyglossa.readers.files import File
from polyglossa.readers.formats import BY_SUFFIX, NAMES
from polyglossa.readers.json_rows import json_rows
from polyglossa.readers.pieces import Piece
from polyglossa.readers.rows import Bad

COUNTED_ROWS = 300_000
"""Rows that are counted one by one; those of larger files are estimated."""


@dataclass(frozen=True)
class Survey:
    """What a file holds, as far as it was looked at."""

    columns: dict[str, list[Any]]
    """Values of the first readable rows by column."""
    rows: int
    """Rows that can be read, by format alone: their columns' types are not known yet."""
    bad: Counter[str]
    first_bad: str | None = None
    """What can be shown of the first row that cannot be read."""
    is_estimate: bool = False
    delimiter: str | None = None
    """Of CSV and TSV, where it is another than the usual one."""
    notice: str | None = None


def format_of(file: File, given: str | None = None) -> str:
    """The format of a file.

    Raises:
        DataError: its suffix says none.
    """
    kind = given or file.format
    if kind is None:
        known = ", ".join(BY_SUFFIX)
        raise DataError(
            f"{file.uri}: unknown suffix. Let its name end in one of {known}; in a recipe, `format` may say which of "
            f"{', '.join(NAMES)} it is instead."
        )
    return kind


def survey(file: File, first_rows: int) -> Survey:
    """Look at a file.

    Raises:
        DataError: it cannot be read, or has two columns of one name.
    """
    kind = format_of(file)
    if kind == "parquet":
        return _of_parquet(file, first_rows)
    piece = Piece(file)
    if kind == "jsonl":
        found, counted = _counted(json_rows(piece, None), first_rows, file)
        names = dict.fromkeys(name for row in found for name in row)
        return Survey({name: [row.get(name) for row in found] for name in names}, **counted)
    head, dialect = read_dialect(piece, kind)
    _check_distinct(file, [name for name in dialect.header if name], f" ({dialect.described})")
    cells, counted = _counted(delimited_rows(piece, head, dialect), first_rows, file)
    return Survey(
        {name: [row[place] for row in cells] for place, name in enumerate(dialect.header) if name},
        **counted,
        delimiter=None if dialect.delimiter == USUAL[kind] else dialect.delimiter,
        notice=dialect.notice,
    )


def column_names(file: File) -> list[str]:
    """Names of a file's columns; of JSON those that its first rows have."""
    kind = format_of(file)
    if kind == "parquet":
        with open_parquet(file) as parquet:
            return list(parquet.schema_arrow.names)
    if kind == "jsonl":
        rows = (row for row in json_rows(Piece(file), ()) if not isinstance(row, Bad))
        return list(dict.fromkeys(name for row, _ in zip(rows, range(300), strict=False) for name in row))
    return list(read_dialect(Piece(file), kind)[1].header)


def open_parquet(file: File) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        DataError: it is none.
    """
    filesystem, path = open_storage(file.uri)
    try:
        return pq.ParquetFile(filesystem.open_input_file(path))
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{file.uri}: cannot be read: not a readable Parquet file ({reason}).") from None


def _of_parquet(file: File, first_rows: int) -> Survey:
    with open_parquet(file) as parquet:
        names = list(parquet.schema_arrow.names)
        _check_distinct(file, names)
        held: dict[str, list[Any]] = {name: [] for name in names}
        seen = 0
        for batch in parquet.iter_batches(batch_size=first_rows):
            if seen >= first_rows:
                break
            seen += batch.num_rows
            for name in names:
                held[name] += _values(batch.column(name))
        return Survey(held, parquet.metadata.num_rows, Counter())


def _values(column: Any) -> list[Any]:
    """Values of a column as Python has them; texts in binary columns as texts."""
    found = []
    for scalar in column:
        try:
            value = scalar.as_py()
            found.append(value.decode() if isinstance(value, bytes) else value)
        except (ValueError, OverflowError):  # no UTF-8, dates beyond Python's
            found.append(None)
    return found


def _counted(rows: Iterator[Any], first_rows: int, file: File) -> tuple[list[Any], dict[str, Any]]:
    """First readable rows, and the counts of all."""
    first: list[Any] = []
    good = 0
    bad: Counter[str] = Counter()
    first_bad: str | None = None
    size = 0
    for row in rows:
        if isinstance(row, Bad):
            bad[row.reason] += 1
            first_bad = first_bad or row.row
            continue
        good += 1
        if len(first) < first_rows:
            first.append(row)
            size += len(str(row).encode("utf-8", "backslashreplace"))
        if good >= COUNTED_ROWS:
            share = file.size * (3 if file.compression else 1) / max(size, 1)
            return first, {
                "rows": max(good, round(len(first) * share)),
                "bad": bad,
                "first_bad": first_bad,
                "is_estimate": True,
            }
    return first, {"rows": good, "bad": bad, "first_bad": first_bad}


def _check_distinct(file: File, names: list[str], seen: str = "") -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{file.uri}: has {names.count(twice[0])} columns named {twice[0]!r}{seen}. Rename all but one."
        )
