"""Normalise the text that is kept, and fold the text that is compared.

Normalised text is what rows carry and what ids are hashes of: NFC, no control characters, no mojibake, no outer white
space, a blank where a control character separates words, lines or pages. Folded text is only ever compared (held-out
names, contamination) and never kept.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc
from ftfy import fix_encoding
from ftfy.badness import BADNESS_RE

from polyglossa.whitespace import SEPARATORS, WHITESPACE

_CONTROL = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
_CONTROLS = re.compile(f"[{_CONTROL}]")
_SEPARATED = re.compile(f" ?[{SEPARATORS}]+ ?")

_LAST = 0x30000
"""No code point from here on changes under NFC."""


def normalise_text(text: str) -> str:
    """Return the text in NFC without control characters, mojibake, direction marks and outer white space."""
    return _tidy(_decoded(text))


def _decoded(text: str) -> str:
    """Mend mojibake. In text that is ASCII but for it, U+0085 is a line end; ftfy takes it for Windows' ellipsis."""
    if "\x85" in text and text.replace("\x85", "").isascii():
        return text
    return fix_encoding(text)


def _tidy(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.strip()
    return unicodedata.normalize("NFC", _CONTROLS.sub("", _SEPARATED.sub(" ", text))).strip()


def normalise_column(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Normalise a column of texts; nulls stay.

    Most texts are normal already. Regular expressions in C++ find those that may not be, and only they are touched
    from Python: ftfy's own rule of bad neighbours runs at 2-8 MB/s in Python's engine and at 100 times that in RE2.
    """
    mojibake, untidy = _doubtful_rules()
    return _mend(_mend(texts, mojibake, _decoded), untidy, _tidy)


def _mend(texts: pa.ChunkedArray, rule: str, mend: Callable[[str], str]) -> pa.ChunkedArray:
    doubtful = pc.fill_null(pc.match_substring_regex(texts, rule), False)
    found = texts.filter(doubtful)
    if len(found) == 0:
        return texts
    mended = pa.array([mend(text) for text in found.to_pylist()], pa.string())
    return pa.chunked_array([pc.replace_with_mask(texts.combine_chunks(), doubtful.combine_chunks(), mended)])


def fold(text: str) -> str:
    """Return what two texts share when they differ in case, white space and compatibility forms only."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


@functools.cache
def _doubtful_rules() -> tuple[str, str]:
    """Regular expressions (RE2) that match every text which `_decoded` and `_tidy` would change, and some others.

    Mended mojibake may itself want tidying, so they apply in this order.
    """
    return _re2(BADNESS_RE.pattern), f"^[{WHITESPACE}]|[{WHITESPACE}]$|[{_CONTROL}{SEPARATORS}{_not_nfc()}]"


def _re2(verbose: str) -> str:
    r"""Write a verbose Python expression for RE2: no comments, no layout, and `\s`, `\w` that know all of Unicode."""
    tokens = re.findall(r"\\.|\[(?:\\.|[^\]\\])*\]|#[^\n]*|\s+|.", verbose)
    kept = (token for token in tokens if not token.startswith("#") and not token.isspace())
    return "".join({r"\s": f"[{WHITESPACE}]", r"\w": r"[\pL\pN\pM_]"}.get(token, token) for token in kept)


def _not_nfc() -> str:
    """A character class of all that NFC may change: combining marks, conjoining jamo, and what it decomposes."""
    unsafe = (
        code
        for code in range(0x300, _LAST)
        if not unicodedata.is_normalized("NFC", chr(code)) or unicodedata.combining(chr(code))
    )
    ranges = [*_ranges(unsafe), (0x1100, 0x11FF), (0xA960, 0xA97F), (0xD7B0, 0xD7FF), *_ranges(_composing_vowels())]
    return "".join(rf"\x{{{start:x}}}-\x{{{end:x}}}" for start, end in ranges)


def _composing_vowels() -> Iterable[int]:
    """Characters of combining class 0 that compose with the one before them (Indic vowel signs)."""
    for code in range(0x300, _LAST):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<") and not unicodedata.combining(chr(int(parts[1], 16))):
            yield int(parts[1], 16)


def _ranges(codes: Iterable[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for code in sorted(set(codes)):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    return ranges
