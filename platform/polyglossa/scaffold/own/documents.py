"""Documents that come without queries: text files, cut at headings and blank lines into passages that can be found."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from polyglossa.corpus.clean.text import normalise_text

LONGEST = 1500
"""Characters of a passage."""
_HEADING = re.compile(r"^#{1,6}\s+(.+)$")


def read_passages(files: Sequence[Path]) -> list[str]:
    """Read text files as passages, each once; what is no UTF-8 is read with marks in place of its bytes."""
    passages = (
        passage for file in files for passage in cut_passages(file.read_text(encoding="utf-8", errors="replace"))
    )
    return list(dict.fromkeys(passages))


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
