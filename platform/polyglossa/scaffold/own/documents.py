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
_HEADING = re.compile(r"#{1,6}\s+(.+?)(?:\s+#+)?")
_UNDERLINE = re.compile(r"={3,}|-{3,}|~{3,}|\*{3,}|_{3,}|\+{3,}")
_FENCE = re.compile(r"```+|~~~+")
_FRONT_MATTER = re.compile(
    r"\A(?P<mark>---|\+\+\+)[ \t]*\r?\n(?P<lines>.*?)^(?P=mark)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
)
"""What generators of pages read before the page, YAML or TOML."""
_TITLE = re.compile(r"^title\s*[:=]\s*(?P<text>.+)$", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[。！？।።؟۔]")


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
    """Cut a text at headings, and long sections at blank lines, else at the ends of sentences; no text is left out.

    Each passage begins with its heading; before the first one that is the title of the front matter.
    """
    heading, body = _front_matter(text)
    held: list[str] = []
    for is_heading, block in _blocks(body):
        room = LONGEST - len(heading) - 1
        for piece in [""] if is_heading else _pieces(block, max(room, LONGEST // 2)):
            if held and (is_heading or sum(map(len, held)) + len(held) + len(piece) > room):
                yield _passage(heading, held)
                held = []
            held += [piece] if piece else []
        heading = block if is_heading else heading
    if held:
        yield _passage(heading, held)


def _passage(heading: str, held: Sequence[str]) -> str:
    return normalise_text(" ".join(" ".join([heading, *held]).split()))


def _front_matter(text: str) -> tuple[str, str]:
    """Title of a page's front matter, where it has one, and what follows it."""
    found = _FRONT_MATTER.match(text)
    if found is None:
        return "", text
    title = _TITLE.search(found["lines"])
    return (title["text"].strip().strip("\"'") if title else ""), text[found.end() :]


def _blocks(text: str) -> Iterator[tuple[bool, str]]:
    """Yield headings (True) and paragraphs of a text, in order; between fences of code nothing is either."""
    lines: list[str] = []
    fence = ""
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        mark = _FENCE.match(stripped)
        if mark and (not fence or mark[0].startswith(fence)):
            fence = "" if fence else mark[0]
        heading = None if fence else _HEADING.fullmatch(stripped)
        underline = None if fence else _UNDERLINE.fullmatch(stripped)
        if underline and len(lines) == 1:
            yield True, lines.pop()
        elif fence or (stripped and not heading and not underline):
            lines.append(stripped)
        else:
            if lines:
                yield False, " ".join(lines)
                lines = []
            if heading:
                yield True, heading[1]
    if lines:  # a fence that nothing closes
        yield False, " ".join(lines)


def _pieces(text: str, room: int) -> Iterator[str]:
    """Cut a text so that its pieces find room: at the end of a sentence, else between words, else anywhere."""
    text = text.strip()
    while len(text) > room:
        ends = [found.end() for found in _SENTENCE_END.finditer(text, room // 2, room)]
        cut = ends[-1] if ends else text.rfind(" ", room // 2, room) + 1 or room
        yield text[:cut].strip()
        text = text[cut:].strip()
    yield text
