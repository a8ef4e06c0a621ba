"""Rows of CSV and TSV: what separates cells is read off the first rows, and a bad row costs that row.

In TSV quotes are characters: cells hold neither tabs nor line ends (IANA's text/tab-separated-values). Spreadsheets and
csv writers quote cells all the same; their files are noticed by doubled quotes, or by rows that only make sense quoted.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from polyglossa.errors import DataError, list_names
from polyglossa.readers.head import Head, read_head
from polyglossa.readers.pieces import Piece
from polyglossa.readers.rows import MAX_ROW_BYTES, SHOWN, Bad, open_text

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
USUAL = {"csv": ",", "tsv": "\t"}
_NAMED = re.compile(r'"?sep=(.)"?[\r\n]+')
_LOOKED_AT = 50
"""Rows that a delimiter must explain."""
_DOUBLED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')
_OPEN = re.compile(r'"(?:[^"]|"")*')

Line = tuple[int, str]
"""Number of a line in its file, and the line."""


@dataclass(frozen=True)
class Dialect:
    """How a file separates its cells."""

    delimiter: str
    quoted: bool
    header: tuple[str, ...]
    names_delimiter: bool
    """Whether the first line names the delimiter (`sep=;`)."""
    notice: str | None = None
    """What a person should know of it."""

    @property
    def described(self) -> str:
        """Header and delimiter in words."""
        cut = DELIMITERS.get(self.delimiter, self.delimiter)
        return f"header {list_names(self.header) if self.header else 'empty'}, cut at each {cut}"


def dialect_of(head: Head, kind: str, uri: str, delimiter: str | None = None) -> Dialect:
    """Read the dialect off the start of a file.

    Args:
        head: the start.
        kind: `csv` or `tsv`.
        uri: for notices.
        delimiter: as the recipe says it; None: seen.
    """
    text = head.text
    named = _NAMED.match(text)
    if named is not None:
        text = text[named.end() :]
    rule = delimiter or (named.group(1) if named else None)
    tried = [rule] if rule else list(dict.fromkeys([USUAL[kind], *DELIMITERS]))
    fits = {mark: _fit(_records(text, mark, _is_quoted(kind, mark), head)) for mark in tried}
    best = max(tried, key=lambda mark: (fits[mark][0], mark == USUAL[kind], fits[mark][1]))
    quoted, notice = _is_quoted(kind, best), None
    if not quoted:
        quoted, notice = _noticed(text, head, uri)
    header = next(iter(_records(text, best, quoted, head)), [])
    return Dialect(best, quoted, tuple(name.strip() for name in header), named is not None, notice)


def _is_quoted(kind: str, delimiter: str) -> bool:
    return kind == "csv" or delimiter != "\t"


def _records(text: str, delimiter: str, quoted: bool, head: Head) -> list[list[str]]:
    """First rows of the text; the last one of a longer file may be cut and is left out."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=_quoting(quoted))
    csv.field_size_limit(MAX_ROW_BYTES)
    found = [row for row in islice(rows, _LOOKED_AT) if not _is_blank(row)]
    return found if head.is_whole or len(found) < 2 or next(rows, None) is not None else found[:-1]


def _quoting(quoted: bool) -> Literal[0, 3]:
    return csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE


def _fit(rows: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Share of rows with as many cells as the header, and how many; a delimiter that the header lacks has none."""
    cells = len(rows[0]) if rows else 0
    if cells < 2:
        return 0.0, cells
    return sum(len(row) == cells for row in rows) / len(rows), cells


def _noticed(text: str, head: Head, uri: str) -> tuple[bool, str | None]:
    """Whether a TSV was written with quotes, and how that is said."""
    lines = [line for line in re.split(r"\r\n|\r|\n", text)[:_LOOKED_AT] if line]
    cells = [cell for line in lines for cell in line.split("\t") if cell.startswith('"')]
    plain, quoted = (_fit(_records(text, "\t", mode, head)) for mode in (False, True))
    doubled = sum(_DOUBLED.fullmatch(cell) is not None for cell in cells)
    whole_header = bool(lines) and all(re.fullmatch(r'"[^"]*"', cell) for cell in lines[0].split("\t"))
    if not (doubled or whole_header or quoted[0] > plain[0]):
        return False, None
    unclosed = any(_OPEN.fullmatch(cell) is not None for cell in cells)
    if quoted[0] < plain[0] or (unclosed and plain[0] == 1.0):
        return False, (
            f"{uri}: {doubled} of its first cells are quoted as CSV quotes, others begin with a quote that does not "
            "close; quotes are kept as they are. Write it with one rule, or as CSV."
        )
    return True, f"{uri}: written with doubled quotes, as CSV quotes; they are taken off."


def read_dialect(piece: Piece, kind: str, delimiter: str | None = None) -> tuple[Head, Dialect]:
    """Read the start of a file and its dialect."""
    head = read_head(piece.file)
    return head, dialect_of(head, kind, piece.file.uri, delimiter)


def delimited_rows(piece: Piece, head: Head, dialect: Dialect) -> Iterator[list[str] | Bad]:
    """Yield the cells of every row behind the header, as many as the header has.

    Raises:
        DataError: the file is not in the encoding that its start shows.
    """
    with open_text(piece, head, newline="") as stream:
        try:
            yield from _rows(_Lines(stream), dialect)
        except UnicodeDecodeError as error:
            raise DataError(f"{piece.file.uri}: cannot be read as {head.encoding} ({error.reason}).") from None


class _Lines:
    """Lines of a file with their numbers; those of a row that turned out bad can be given back."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._rest = iter(stream)
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._rest)
        self.taken.append(line)
        self.number += 1
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        """Yield these lines once more."""
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)


def _rows(lines: _Lines, dialect: Dialect) -> Iterator[list[str] | Bad]:
    csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(lines, delimiter=dialect.delimiter, quoting=_quoting(dialect.quoted), strict=True)
    if dialect.names_delimiter:
        next(lines, None)
    width, needs_header = len(dialect.header), True
    while True:
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _broken(lines, error)
            continue
        if _is_blank(cells):
            continue
        if needs_header:
            needs_header = False
            continue
        if len(cells) > width and not any(cells[width:]):
            cells = cells[:width]
        yield cells if len(cells) == width else _of_other_width(lines, cells, dialect)


def _is_blank(cells: Sequence[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def _broken(lines: _Lines, error: csv.Error) -> Bad:
    """A row whose quotes do not close costs its first line: the others are read again."""
    first, *others = lines.taken
    lines.give_back(others)
    reason = "too_large" if "limit" in str(error) else "invalid_csv"
    return Bad(reason, f"line {lines.number}: {error}: {_shown(first)}")


def _of_other_width(lines: _Lines, cells: Sequence[str], dialect: Dialect) -> Bad:
    where = lines.number - len(lines.taken) + 1
    shown = _shown(dialect.delimiter.join(cells))
    return Bad("wrong_columns", f"line {where}: {len(cells)} cells ({dialect.described}): {shown}")


def _shown(text: str) -> str:
    return text[:SHOWN].encode("utf-8", "surrogateescape").decode("utf-8", "replace").rstrip("\r\n")
