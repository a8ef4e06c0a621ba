"""Protects what counts as one text: the column-wise pass equals the text-wise one, and repairs what ftfy repairs."""

import unicodedata

import pyarrow as pa
import pytest
from ftfy import fix_encoding
from ftfy.badness import is_bad
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from polyglossa.corpus.clean.text import fold, normalise_column, normalise_text

MOJIBAKE = [
    "schÃ¶n",
    "âœ” No problems",
    "Ã¼ber",
    "â€œquotedâ€\x9d",
    "РїСЂРёРІРµС‚",
    "l’humanitÃ©",
    "voilÃ  le travail",
    "×²",
]
PLAIN = [
    "",
    "plain",
    " outer ",
    "\tq\n",
    "zero\x00",
    "\ufeffmark",
    "e\u0301",
    "é",
    "各",
    "ก็ดี",
    "हिन्दी",
    "가",
    "a\u2028",
    "\u200f עברית",
]


def column(*texts: str | None) -> list[str | None]:
    return normalise_column(pa.chunked_array([pa.array(texts, pa.string())])).to_pylist()


@pytest.mark.parametrize(
    "text", [*MOJIBAKE, *PLAIN, "\u0b92\u0bd7", "\u1100\u1161", "\u212b", "\U0002f800", "\x85next"]
)
def test_a_column_is_normalised_as_its_texts_are(text: str) -> None:
    assert column(text, None) == [normalise_text(text), None]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.text() | st.sampled_from(MOJIBAKE) | st.text("Ãâ€¦ÂŸ°²aé\u0301 \x99\xa0"), max_size=4))
def test_any_column_is_normalised_as_its_texts_are(texts: list[str]) -> None:
    encodable = [text.encode("utf-8", "ignore").decode() for text in texts]
    assert column(*encodable) == [normalise_text(text) for text in encodable]


@pytest.mark.parametrize("text", MOJIBAKE)
def test_mojibake_is_repaired_as_ftfy_repairs_it(text: str) -> None:
    assert normalise_text(text) == unicodedata.normalize("NFC", fix_encoding(text)).strip()
    if text != "×²":
        assert is_bad(text)
        assert normalise_text(text) != text


def test_normalised_text_is_nfc_without_control_characters_and_outer_space() -> None:
    assert normalise_text(" e\u0301\x00\u202e\ufeff\n") == "é"
    assert normalise_text("two\nlines\tand tabs") == "two\nlines\tand tabs"


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_normalising_twice_changes_nothing_more_where_there_is_no_mojibake(text: str) -> None:
    once = normalise_text(text)
    assume(not is_bad(text) and not is_bad(once))
    assert normalise_text(once) == once


@pytest.mark.parametrize(
    ("one", "other"), [("Straße", "STRASSE"), ("a  b\n", "A B"), ("ＡＢ", "ab"), ("ﬁn", "FIN"), ("İ", "i̇")]
)
def test_folding_levels_case_space_and_width(one: str, other: str) -> None:
    assert fold(one) == fold(other)
    assert fold(fold(one)) == fold(one)
