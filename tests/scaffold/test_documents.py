"""Protects documents that come without queries: all of their text can be found, under the heading it stands under."""

from pathlib import Path

import pytest

from polyglossa.errors import DataError
from polyglossa.scaffold.own.documents import LONGEST, cut_passages, read_passages

PAGES = {
    "headings": ("# The lamp\n\nIt shines.\n\n## Care\n\nWipe it.", ["The lamp It shines.", "Care Wipe it."]),
    "headings without blank lines": ("# One #\nfirst\n## Two\nsecond", ["One first", "Two second"]),
    "underlined headings": ("One\n===\n\nfirst\n\nTwo\n---\nsecond", ["One first", "Two second"]),
    "a rule is no heading": ("first part\nof two\n\n---\n\nsecond", ["first part of two second"]),
    "YAML before the page": ('---\ntitle: "The lamp"\ntags: [a, b]\n---\nIt shines.', ["The lamp It shines."]),
    "TOML before the page": ('+++\ntitle = "The lamp"\n+++\n\nIt shines.', ["The lamp It shines."]),
    "a comment in code": ("# Care\n\n```bash\n# wipe\n\nrm dust\n```", ["Care ```bash # wipe rm dust ```"]),
    "code that nothing closes": ("# Care\n\n```\n# wipe", ["Care ``` # wipe"]),
    "paragraphs": ("one\n\ntwo\n", ["one two"]),
    "nothing": ("\n\n", []),
}


@pytest.mark.parametrize("name", PAGES)
def test_passages_stand_under_their_headings(name: str) -> None:
    text, passages = PAGES[name]
    assert list(cut_passages(text)) == passages


@pytest.mark.parametrize("text", ["It shines. " * 900, "光る。" * 2000, "word " * 2000, "x" * 5000, "line\n" * 2000])
def test_a_long_paragraph_is_cut_and_none_of_it_is_lost(text: str) -> None:
    passages = list(cut_passages(f"# Lamp\n\n{text}"))
    assert len(passages) > 2
    assert all(len(passage) <= LONGEST and passage.startswith("Lamp ") for passage in passages)
    assert "".join(passage.removeprefix("Lamp ") for passage in passages).replace(" ", "") == "".join(text.split())
    if "." in text or "。" in text:
        assert all(passage[-1] in ".。" for passage in passages)


def test_documents_are_read_in_the_encoding_that_they_are_written_in(tmp_path: Path) -> None:
    (tmp_path / "lamp.txt").write_text("Die Lampe für Übermorgen", encoding="utf-16")
    assert read_passages([tmp_path / "lamp.txt"]) == ["Die Lampe für Übermorgen"]
    (tmp_path / "old.txt").write_bytes("Die Lampe für Übermorgen\n".encode("cp1252") * 9)
    with pytest.raises(DataError, match="9 of its first 9 lines are no UTF-8"):
        read_passages([tmp_path / "old.txt"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_among_documents_is_not_read_as_one(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "unicode text.txt").write_text("question\tanswer\n" * 9, encoding=encoding)
    with pytest.raises(DataError, match=r"9 of its 9 first lines have 1 tab\(s\): a table. Name it \.tsv"):
        read_passages([tmp_path / "unicode text.txt"])
