"""What the first bytes of a text file say: its encoding, its line ends, the shape of its JSON. No bytes, no guess."""

import io
import json
import re
from dataclasses import dataclass
from typing import IO, Literal

import pyarrow as pa

from polyglossa.artifact import open_storage
from polyglossa.errors import DataError
from polyglossa.readers.files import File

HEAD_BYTES = 2**19
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_STRANGERS = (
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet; unpack it, or save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of old Excel; save it as CSV"),
    (b"PAR1", "a Parquet file; name it .parquet"),
    (b"ARROW1", "an Arrow file; save it as Parquet"),
    (b"\x1f\x8b", "packed with gzip; name it .gz behind its format"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd; name it .zst behind its format"),
    (b"BZh", "packed with bzip2; name it .bz2 behind its format"),
    (b"\xfd7zXZ", "packed with xz; unpack it, or pack it with gzip or zstd"),
)

Shape = Literal["lines", "array", "values"]
"""Of JSON: a value a line, one array of rows, or values that go over several lines."""


@dataclass(frozen=True)
class Head:
    """The start of a file, decoded."""

    text: str
    encoding: str
    mark: int
    """Bytes of the byte-order mark."""
    bare_returns: bool
    """Whether lines end in CR alone."""
    is_whole: bool
    """Whether the text is all there is."""

    @property
    def is_plain(self) -> bool:
        """Whether lines can be cut at LF bytes."""
        return self.encoding == "utf-8" and not self.bare_returns


def open_bytes(file: File) -> io.BufferedReader:
    """Open a file, unpacked.

    Raises:
        DataError: it is not there, or not packed as its suffix says.
    """
    filesystem, path = open_storage(file.uri)
    try:
        stream = filesystem.open_input_stream(path, compression=file.compression)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{file.uri}: cannot be read ({_first(error)}).") from None
    return io.BufferedReader(_Checked(stream, file.uri), buffer_size=2**20)


class _Checked(io.RawIOBase):
    """A stream whose failures (a cut archive, a lost connection) name their file."""

    def __init__(self, stream: IO[bytes], uri: str) -> None:
        self._stream, self._uri = stream, uri

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]  # typeshed wants a Buffer
        try:
            read = self._stream.read(len(buffer))
        except (OSError, ValueError) as error:
            raise DataError(f"{self._uri}: cannot be read to its end ({_first(error)}).") from None
        buffer[: len(read)] = read
        return len(read)


def read_head(file: File) -> Head:
    """Read the start of a file.

    Raises:
        DataError: it is no text.
    """
    with open_bytes(file) as stream:
        start = stream.read(HEAD_BYTES)
    for magic, what in _STRANGERS:
        if start.startswith(magic):
            raise DataError(f"{file.uri}: cannot be read: it is {what}.")
    encoding, mark = next(((name, len(sign)) for sign, name in _MARKS if start.startswith(sign)), (_unmarked(start), 0))
    text = start[mark:].decode(encoding, "replace")
    return Head(text, encoding, mark, "\r" in text and "\n" not in text, len(start) < HEAD_BYTES)


def _unmarked(start: bytes) -> str:
    """UTF-16 without a mark shows by zeros in every other byte of ASCII."""
    even, odd = start[0:4096:2], start[1:4096:2]
    if len(odd) > 1 and odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.1 * len(even):
        return "utf-16-le"
    if len(odd) > 1 and even.count(0) > 0.4 * len(even) and odd.count(0) < 0.1 * len(odd):
        return "utf-16-be"
    return "utf-8"


def json_shape(head: Head) -> Shape:
    """Tell how the values of a JSON file lie.

    An array is one of rows, unless it stands complete on the first line and holds no object: then it is a bad line.
    """
    text = head.text.lstrip()
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    if _is_json(first) and not re.match(r"\[\s*[{\]]", text):
        return "lines"
    if text.startswith("["):
        return "array"
    return "values" if text.startswith("{") and _goes_on(text, first) else "lines"


def _goes_on(text: str, first: str) -> bool:
    """Whether an object starts here that is not alone on its line."""
    try:
        end = json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        second = re.split(r"[\r\n]+", text[len(first) :].lstrip(), maxsplit=1)[0]
        return re.fullmatch(r'\{\s*(".*[,\[{:]\s*)?', first) is not None and not _is_json(second)
    return end > len(first) or first[end:].lstrip().startswith("{")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
