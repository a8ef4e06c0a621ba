"""How large files are cut into pieces that are read apart.

The pieces depend on the files alone, never on the order in which they are given or on how many workers will read them.
"""

from dataclasses import dataclass
from itertools import pairwise

import pyarrow.parquet as pq

from polyglossa.artifact import open_storage
from polyglossa.errors import DataError
from polyglossa.readers.files import File
from polyglossa.readers.head import json_shape, read_head

PIECE_BYTES = 64 * 2**20
"""Files are read in pieces of about this size, so that memory does not grow with them."""


@dataclass(frozen=True, order=True)
class Piece:
    """Part of a file: row groups of Parquet, bytes of plain JSONL, else the whole file."""

    file: File
    start: int = 0
    end: int | None = None
    """None: to the end of the file."""


def cut(file: File, kind: str, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
    """Cut a file into pieces of about `piece_bytes`.

    What only a reader from the start can cut stays whole: compressed text, CSV (quoted line ends), JSON that is no
    value a line, text whose lines do not end in LF bytes.
    """
    if kind == "parquet":
        return _cut_row_groups(file, piece_bytes)
    if kind == "jsonl" and file.compression is None and (file.size <= piece_bytes or _has_plain_lines(file)):
        bounds = [*range(0, max(file.size, 1), piece_bytes), file.size]
        return [Piece(file, start, end) for start, end in pairwise(bounds)]
    return [Piece(file)]


def _has_plain_lines(file: File) -> bool:
    head = read_head(file)
    return head.is_plain and json_shape(head) == "lines"


def _cut_row_groups(file: File, piece_bytes: int) -> list[Piece]:
    filesystem, path = open_storage(file.uri)
    try:
        with filesystem.open_input_file(path) as stream:
            metadata = pq.ParquetFile(stream).metadata
    except (OSError, ValueError) as error:
        raise DataError(f"{file.uri}: not a readable Parquet file ({str(error).splitlines()[0]}).") from None
    pieces: list[Piece] = []
    start = size = 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        if size >= piece_bytes or group == metadata.num_row_groups - 1:
            pieces.append(Piece(file, start, group + 1))
            start, size = group + 1, 0
    return pieces
