"""What every reader of rows shares: a row that could not be read, and the lines of a piece of a file."""

import io
from collections.abc import Iterator
from typing import NamedTuple

from polyglossa.artifact import open_storage
from polyglossa.errors import DataError
from polyglossa.readers.head import Head, open_bytes
from polyglossa.readers.pieces import Piece

MAX_ROW_BYTES = 64 * 2**20
"""A row beyond it is not parsed."""
SHOWN = 400
"""Characters that are shown of a row."""


class Bad(NamedTuple):
    """A row that could not be read."""

    reason: str
    row: str
    """What can be shown of it."""


def open_text(piece: Piece, head: Head, newline: str | None) -> io.TextIOWrapper:
    """Open a file as text behind its byte-order mark; bytes that are no UTF-8 become surrogate escapes."""
    stream = open_bytes(piece.file)
    stream.read(head.mark)
    errors = "surrogateescape" if head.encoding == "utf-8" else "strict"
    return io.TextIOWrapper(stream, encoding=head.encoding, errors=errors, newline=newline)


def byte_lines(piece: Piece, head: Head) -> Iterator[bytes]:
    """Yield the lines, as UTF-8, that start within the piece.

    Raises:
        DataError: the file is not in the encoding that its start shows.
    """
    if head.is_plain:
        yield from _plain_lines(piece, head.mark)
        return
    with open_text(piece, head, newline=None) as stream:
        try:
            for line in stream:
                yield line.encode("utf-8", "surrogateescape" if head.encoding == "utf-8" else "surrogatepass")
        except UnicodeDecodeError as error:
            raise DataError(f"{piece.file.uri}: cannot be read as {head.encoding} ({error.reason}).") from None


def _plain_lines(piece: Piece, mark: int) -> Iterator[bytes]:
    with _open_at(piece, mark) as stream:
        position = piece.start
        if piece.start:  # the line that began before the piece belongs to the one before
            position += len(stream.readline()) - 1
        for line in stream:
            if piece.end is not None and position >= piece.end:
                return
            position += len(line) + (mark if position == 0 else 0)
            yield line


def _open_at(piece: Piece, mark: int) -> io.BufferedReader:
    if not piece.start:
        stream = open_bytes(piece.file)
        stream.read(mark)
        return stream
    filesystem, path = open_storage(piece.file.uri)
    seekable = filesystem.open_input_file(path)
    seekable.seek(piece.start - 1)
    return io.BufferedReader(seekable, buffer_size=2**20)
