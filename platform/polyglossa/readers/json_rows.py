"""Rows of JSON: a value a line, an array of rows, or values over several lines; memory holds one row at a time.

orjson parses; what it refuses and Python's parser takes (`NaN`, lone surrogates) is left to whoever reads that column.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from polyglossa.errors import DataError
from polyglossa.readers.head import Head, json_shape, read_head
from polyglossa.readers.pieces import Piece
from polyglossa.readers.rows import MAX_ROW_BYTES, SHOWN, Bad, byte_lines

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},"]', re.DOTALL)
_CHUNK_BYTES = 2**20


def json_rows(piece: Piece, names: Sequence[str] | None) -> Iterator[dict[str, Any] | Bad]:
    """Yield the objects of a file.

    Args:
        piece: where they start.
        names: columns that are read; a row that names one of them twice is bad. None: all.
    """
    head = read_head(piece.file)
    if piece.start == 0 and (shape := json_shape(head)) != "lines":
        chunks = _chunks(piece, head)
        for value in _values(chunks, piece.file.uri, in_array=shape == "array"):
            yield _parsed(value, names)
        return
    for line in byte_lines(piece, head):
        if len(line) > MAX_ROW_BYTES:
            yield Bad("too_large", repr(line[:SHOWN]))
        elif line.strip():
            row = _parsed(line, names)
            if isinstance(row, Bad):
                yield from _of_parts(line, row, names)
            else:
                yield row


def _of_parts(line: bytes, bad: Bad, names: Sequence[str] | None) -> Iterator[dict[str, Any] | Bad]:
    """A bad line may be several, in a file whose lines end in CR and LF by turns."""
    parts = [part for part in line.split(b"\r") if part.strip()]
    if len(parts) > 1:
        yield from (_parsed(part, names) for part in parts)
    else:
        yield bad


def _parsed(value: bytes, names: Sequence[str] | None) -> dict[str, Any] | Bad:
    try:
        row = orjson.loads(value)
    except orjson.JSONDecodeError:
        try:
            row = json.loads(value)
        except UnicodeDecodeError:
            return Bad("invalid_utf8", repr(value[:SHOWN]))
        except (ValueError, RecursionError):
            return Bad(*_why_not(value))
    if not isinstance(row, dict):
        return Bad("not_an_object", value.decode("utf-8", "replace")[:SHOWN])
    if value.count(b'":') != len(row) and _names_twice(value, row, names):
        return Bad("duplicate_key", value.decode("utf-8", "replace")[:SHOWN])
    return row


def _why_not(value: bytes) -> tuple[str, str]:
    try:
        return "invalid_json", value.decode("utf-8")[:SHOWN]
    except UnicodeDecodeError:
        return "invalid_utf8", repr(value[:SHOWN])


def _names_twice(value: bytes, row: dict[str, Any], names: Sequence[str] | None) -> bool:
    """Whether the object itself, not one inside it, has a key twice that is read; parsers keep the last in silence."""
    suspects = {name for name in names or row if value.count(orjson.dumps(name)) > 1} if names != () else set()
    if not suspects:
        return False
    objects: list[list[tuple[str, Any]]] = []
    json.loads(value, object_pairs_hook=objects.append)
    keys = [key for key, _ in objects[-1]]
    return any(keys.count(name) > 1 for name in suspects)


def _chunks(piece: Piece, head: Head) -> Iterator[bytes]:
    """The file in UTF-8, a megabyte at a time."""
    lines: list[bytes] = []
    size = 0
    for line in byte_lines(Piece(piece.file), head):
        lines.append(line)
        size += len(line)
        if size >= _CHUNK_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
    yield b"".join(lines)


def _values(chunks: Iterator[bytes], uri: str, *, in_array: bool) -> Iterator[bytes]:
    """Cut a file into its rows by brackets alone, so that a broken row costs that row.

    Raises:
        DataError: a row is larger than rows may be, or brackets do not close: which rows are lost is then not known.
    """
    outer = int(in_array)
    buffer, start, scanned, depth = b"", 0, 0, 0
    for chunk in chunks:
        buffer, scanned, start = buffer[start:] + chunk, scanned - start, 0
        if len(buffer) > MAX_ROW_BYTES + len(chunk):
            raise DataError(
                f"{uri}: a row is larger than {MAX_ROW_BYTES:,} bytes; is it one value that holds all rows? "
                "Give an object a line, or one array of objects."
            )
        for token in _TOKEN.finditer(buffer, scanned):
            mark = token.group()
            if mark == b'"':  # a text that the next chunk ends
                scanned = token.start()
                break
            scanned = token.end()
            if mark in (b"[", b"{"):
                depth += 1
                if depth == outer and in_array:
                    start = token.end()
            elif mark in (b"]", b"}"):
                depth -= 1
                if depth == 0:
                    yield from _filled(buffer[start : token.start() if in_array else token.end()])
                    start = token.end()
            elif mark == b"," and depth == outer:
                yield from _filled(buffer[start : token.start()])
                start = token.end()
    if depth or buffer[start:].strip():
        raise DataError(
            f"{uri}: its JSON ends inside a value, or a bracket or quote in it does not close. Mend the file."
        )


def _filled(value: bytes) -> Iterator[bytes]:
    if value.strip():
        yield value
