"""What a person's file may have at its beginning that no reader can guess right: another encoding, and no header."""

import codecs
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from charset_normalizer import from_bytes

from polyglossa.errors import DataError
from polyglossa.readers.files import File
from polyglossa.readers.head import HEAD_BYTES, open_bytes, read_head

_MAX_WRONG_SHARE = 0.01
_FEW_WRONG = 3
"""So few lines, or this share of many, are rows to refuse: a slip, and not an encoding."""
_GUESSED_BYTES = 2**16
_NAME_CHARACTERS = 12
"""Names of columns are rarely longer, unless they are words joined by underscores."""
_ROW_SHARE = 0.4
"""A first line as long as this share of its column's texts reads as one of them."""


def check_encoding(file: File) -> None:
    """Refuse a text file that is written in another encoding than Unicode's.

    Args:
        file: a file of a text format.

    Raises:
        DataError: more than one of a hundred of its first lines are no UTF-8; says what they look like.
    """
    head = read_head(file)
    if head.encoding != "utf-8":
        return
    with open_bytes(file) as stream:
        start = stream.read(HEAD_BYTES)
    lines = start.splitlines()
    complete = lines if head.is_whole else lines[:-1]  # a character at the end may be cut
    wrong = [line for line in complete if not _is_utf8(line)]
    if len(wrong) <= max(_FEW_WRONG, _MAX_WRONG_SHARE * len(complete)):
        return
    best = from_bytes(b"\n".join(wrong)[:_GUESSED_BYTES]).best()
    told = f"{file.uri}: {len(wrong):,} of its first {len(complete):,} lines are no UTF-8."
    if best is None:
        raise DataError(f"{told} Save it as UTF-8.")
    name = "cp1252" if "cp1252" in best.could_be_from_charset else codecs.lookup(best.encoding).name
    example = wrong[0].decode(name, "replace")[:60]
    raise DataError(
        f"{told} As {name} the first of them reads {example!r}. If that is right: iconv -f {name} -t UTF-8; if not, "
        "save it as UTF-8 where it was made."
    )


def check_header(file: File, columns: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a table whose first line is a row.

    Args:
        file: for the message.
        columns: values of the first rows by what stands in the first line.

    Raises:
        DataError: what stands in the first line is as long as the texts below, or is one of a column's few values.
    """
    texts = {name: [value for value in values if isinstance(value, str) and value] for name, values in columns.items()}
    sentences = [name for name, values in texts.items() if _reads_as_row(name, values)]
    labels = [name for name, values in texts.items() if name not in sentences and _is_label(name, values)]
    if sentences and len(sentences) + len(labels) == len(columns):
        shown = " | ".join(name[:30] for name in columns)
        raise DataError(
            f"{file.uri}: its first line ({shown}) is a row like the others, not the names of its columns. Put a line "
            f"of {len(columns)} names above it, as `query` and `positive`, or `text` and `label`."
        )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _reads_as_row(name: str, values: Sequence[str]) -> bool:
    """Whether a name is words, and about as many as the values have."""
    if not values or len(name) < _NAME_CHARACTERS or re.fullmatch(r"\S*_\S*", name):
        return False
    return len(name) >= _ROW_SHARE * statistics.median(map(len, values))


def _is_label(name: str, values: Sequence[str]) -> bool:
    """Whether a name is one of a column's values that come again and again."""
    return values.count(name) > 1 and len(set(values)) < 0.5 * len(values)
