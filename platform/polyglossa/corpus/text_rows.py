"""Rows of JSON Lines, CSV and TSV, one by one; a line that holds no row becomes a `Bad`."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from polyglossa.artifact import open_storage
from polyglossa.corpus.files import Piece

MAX_ROW_BYTES = 64 * 2**20
"""A line beyond it is not parsed."""
SHOWN = 400
_SURROGATE = re.compile("[\udc80-\udcff]")


class Bad(NamedTuple):
    """A row that could not be read."""

    reason: str
    row: str
    """What can be shown of it."""


def _open(piece: Piece) -> io.BufferedReader:
    filesystem, path = open_storage(piece.file.uri)
    if piece.file.compression is None and piece.start:
        stream = filesystem.open_input_file(path)
        stream.seek(piece.start - 1)
    else:
        stream = filesystem.open_input_stream(path, compression=piece.file.compression)
    return io.BufferedReader(stream, buffer_size=2**20)


def _lines(piece: Piece) -> Iterator[bytes]:
    """Lines that start within the piece."""
    with _open(piece) as stream:
        position = piece.start
        if position:  # the line that began before the piece belongs to the one before
            position += len(stream.readline()) - 1
        for line in stream:
            if piece.end is not None and position >= piece.end:
                return
            position += len(line)
            yield line


def json_rows(piece: Piece) -> Iterator[dict[str, Any] | Bad]:
    """Yield the objects of a JSON Lines file."""
    for line in _lines(piece):
        if len(line) > MAX_ROW_BYTES:
            yield Bad("too_large", repr(line[:SHOWN]))
        elif line.strip():
            yield _json_row(line)


def _json_row(line: bytes) -> dict[str, Any] | Bad:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return Bad("invalid_json", line.decode("utf-8")[:SHOWN])
        except UnicodeDecodeError:
            return Bad("invalid_utf8", repr(line[:SHOWN]))
    return row if isinstance(row, dict) else Bad("not_an_object", line.decode()[:SHOWN])


def csv_rows(piece: Piece, delimiter: str) -> Iterator[dict[str, Any] | Bad]:
    """Yield the rows of a CSV or TSV file, by the names of its first line."""
    csv.field_size_limit(MAX_ROW_BYTES)
    with _open(piece) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(
            text, delimiter=delimiter, quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        )
        header = next(reader, [])
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Bad("too_large" if "limit" in str(error) else "invalid_csv", str(error))
                continue
            if cells:
                yield _csv_row(header, cells)


def _csv_row(header: Sequence[str], cells: Sequence[str]) -> dict[str, Any] | Bad:
    joined = "\x1f".join(cells)
    if not joined.isascii() and _SURROGATE.search(joined):
        return Bad("invalid_utf8", joined.encode("utf-8", "surrogateescape")[:SHOWN].decode("utf-8", "replace"))
    if len(cells) != len(header):
        return Bad("wrong_columns", joined[:SHOWN])
    return dict(zip(header, cells, strict=True))
