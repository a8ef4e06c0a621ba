"""What counts as the same text: normalisation of what is kept, and folding of what is compared.

Normalised text is what rows carry and what ids are hashes of. Folded text is only ever compared (held-out names,
duplicates, contamination) and never kept.
"""

import re
import unicodedata

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufff9-\ufffb]")
_SPACE = re.compile(r"\s+")


def normalise_text(text: str) -> str:
    """Return the text in NFC without control characters, byte-order marks and outer white space."""
    if text.isascii() and text.isprintable():
        return text.strip()
    return unicodedata.normalize("NFC", _CONTROL.sub("", text)).strip()


def fold(text: str) -> str:
    """Return what two texts share when they differ in case, white space and compatibility forms only."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", normalise_text(text)).casefold()).strip()
