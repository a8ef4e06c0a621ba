"""Documents that come without queries: text files, cut at headings and blank lines into passages that can be found."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from polyglossa.corpus.clean.text import normalise_text
from polyglossa.errors import DataError
from polyglossa.readers.files import File
from polyglossa.readers.head import read_head
from polyglossa.scaffold.beginning import check_encoding

LONGEST = 1500
"""Characters of a passage."""
_TABLE_LINES, _TABLE_SHARE = 5, 0.9
"""A text of so many lines, this share of which have equally many tabs, is a table."""
_HEADING = re.compile(r"^#{1,6}\s+(.+)$")


def read_passages(files: Sequence[Path]) -> list[str]:
    """Read text files as passages, each once.

    Raises:
        DataError: a file is no text, is written in another encoding than Unicode's, or is a table.
    """
    return list(dict.fromkeys(passage for file in files for passage in cut_passages(_read_text(file))))


def _read_text(path: Path) -> str:
    file = File.at(path)
    head = read_head(file)
    check_encoding(file)
    lines = [line for line in head.text.splitlines() if line.strip()]
    (tabs, count), *_ = Counter(line.count("\t") for line in lines).most_common(1) or [(0, 0)]
    if tabs and len(lines) >= _TABLE_LINES and count >= _TABLE_SHARE * len(lines):
        raise DataError(
            f"{path}: {count:,} of its {len(lines):,} first lines have {tabs} tab(s): a table. Name it .tsv."
        )
    return path.read_bytes()[head.mark :].decode(head.encoding, "replace")


def cut_passages(text: str) -> Iterator[str]:
    """Cut a text at headings, and long sections at blank lines; each passage begins with its heading."""
    heading = ""
    held: list[str] = []

    def passage() -> str:
        return normalise_text(" ".join(" ".join([heading, *held]).split()))

    for block in re.split(r"\n\s*\n", text):
        lines = block.strip().splitlines()
        found = _HEADING.match(lines[0]) if lines else None
        if found or sum(map(len, held)) + len(block) > LONGEST:
            if held:
                yield passage()[:LONGEST]
            held = []
        if found:
            heading, lines = found.group(1), lines[1:]
        if lines:
            held.append(" ".join(lines))
    if held:
        yield passage()[:LONGEST]
