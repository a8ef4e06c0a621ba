"""Protects training data from what is not understood: splits, languages, evaluation texts, separators, white space."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.corpus.clean.evaluation_texts import SetReading, set_files, texts_of
from polyglossa.corpus.clean.language import canonical, is_language, named
from polyglossa.corpus.clean.text import fold, normalise_column, normalise_text
from polyglossa.corpus.splits import SPLITS, split_of
from polyglossa.errors import DataError
from polyglossa.mine.near import overlap, sketch
from polyglossa.mine.texts import blank
from polyglossa.recipe.sections.corpus import EvaluationSet
from polyglossa.scaffold.look import look
from polyglossa.scaffold.propose import propose
from polyglossa.whitespace import SEPARATORS, WHITESPACE
from readers.fields import corpus_rows

EVERY_BLANK = [chr(code) for code in range(0x110000) if chr(code).isspace()]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Test", "heldout"), ("TEST", "heldout"), (" test ", "heldout"), ("held-out", "heldout"), ("val", "validation"),
        ("Dev", "validation"), ("eval", "validation"), ("VALIDATION", "validation"), ("Training", "train"),
        ("", "train"), (None, "train"), ("tset", None), ("1", None), ("unknown", None), ("train[:90%]", None),
    ],
)  # fmt: skip
def test_splits_are_folded_known_or_refused(name: str | None, split: str | None) -> None:
    assert split_of(name) == split


LAYOUTS: dict[str, tuple[str, list[str]]] = {
    "pairs": ("question,answer,split", ["q{0},p{0},{1}"]),
    "labelled": ("text,label,split", ["a long enough text {0},one,{1}", "another text {0},two,{1}"]),
    "wide": ("eng,deu,split", ["house {0},Haus {0},{1}"]),
    "long": ("index_id,language,text,split", ["{0},eng,a house {0},{1}", "{0},deu,ein Haus {0},{1}"]),
    "f2llm": ("query,passage,negative_1,split", ["q{0},p{0},n{0},{1}"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_init_honours_a_column_of_splits_in_every_layout(tmp_path: Path, layout: str) -> None:
    header, lines = LAYOUTS[layout]
    values = ["train"] * 20 + ["Test"] * 5 + ["val"] * 5
    rows = [line.format(number, split) for number, split in enumerate(values) for line in lines]
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]))
    entry = propose(look([tmp_path / "a.csv"])[0]).entry
    found, bad, _ = corpus_rows(entry)
    splits = [row["split"] for row in found]
    assert not bad
    assert {split: splits.count(split) / len(splits) for split in set(splits)} == {
        "train": 20 / 30, "heldout": 5 / 30, "validation": 5 / 30
    }  # fmt: skip


def test_unknown_splits_are_rejected_and_init_refuses_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer,split\nq,p,train\nr,s,fold7\n")
    with pytest.raises(DataError, match="'fold7', which stands for no split; known are train"):
        propose(look([tmp_path / "a.csv"])[0])
    columns = {"query": "question", "positive": "answer", "split": "split"}
    source = {"kind": "pairs", "task": "retrieval", "files": [str(tmp_path / "a.csv")], "columns": columns}
    rows, bad, _ = corpus_rows(source)
    assert ([row["query"] for row in rows], dict(bad)) == (["q"], {"unknown_split": 1})
    assert set(SPLITS.values()) == {"train", "validation", "heldout"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ENG", "eng"), ("English", "eng"), ("english", "eng"), ("en", "eng"), ("EN-us", "eng"), ("en_US.UTF-8", "eng"),
        ("ger", "deu"), ("German", "deu"), ("Deutsch", "deu"), ("fre", "fra"), ("Français", "fra"), ("cmn", "zho"),
        ("chi", "zho"), ("zh-Hans", "zho"), ("zh-CN", "zho"), ("Chinese (Simplified)", "zho"), ("pt_BR", "por"),
        ("Brazilian Portuguese", "por"), ("dut", "nld"), ("iw", "heb"), (" eng ", "eng"), ("uzb_Cyrl", "uzb_Cyrl"),
        ("Python", "python"), ("C++", "c++"),
    ],
)  # fmt: skip
def test_languages_come_to_one_code(code: str, expected: str) -> None:
    assert named(code) == expected
    assert is_language(code)


def test_a_script_is_read_off_a_tag() -> None:
    assert canonical("zh-Hant-TW") == ("zho", "Hant")
    assert canonical("Traditional Chinese") == ("zho", "Hant")


def test_an_unknown_language_is_a_reason_and_in_a_recipe_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("query,passage,lang\nq,p,Klingonish\nr,s,German\nt,u,\n")
    columns = {"language": "lang"}
    source = {"kind": "pairs", "task": "retrieval", "files": [str(tmp_path / "a.csv")], "columns": columns}
    rows, bad, _ = corpus_rows(source)
    assert [row["query_language"] for row in rows] == ["German", None]
    assert dict(bad) == {"unknown_language": 1}
    with pytest.raises(DataError, match="language 'Klingonish' is not known"):
        corpus_rows({**source, "language": "Klingonish"})


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\u2028", "\u2029"])
def test_what_separates_words_becomes_a_blank(mark: str) -> None:
    for text in (f"notes{mark}Page", f"notes{mark}{mark}Page", f"notes {mark} Page", f"{mark}notes{mark}Page{mark}"):
        assert normalise_text(text) == "notes Page"
        assert normalise_column(pa.chunked_array([[text]])).to_pylist() == ["notes Page"]


def test_mojibake_with_a_control_character_is_mended_still() -> None:
    assert normalise_text("l\u00c3\u00a0 o\u00c3\u00b9") == "là où"


def test_white_space_is_one_set() -> None:
    inside = np.array([ord(character) for character in EVERY_BLANK])
    texts = pa.array([chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000])
    import pyarrow.compute as pc

    matched = pc.match_substring_regex(texts, f"^[{WHITESPACE}]$").to_numpy(zero_copy_only=False)
    assert [ord(text) for text in texts.filter(pa.array(matched)).to_pylist()] == inside.tolist()
    assert set(SEPARATORS.replace("\x1c-\x1f", "\x1c\x1d\x1e\x1f")) < set(EVERY_BLANK)


@given(st.lists(st.sampled_from(EVERY_BLANK), min_size=1, max_size=3))
def test_copies_that_differ_in_white_space_are_copies_everywhere(blanks: list[str]) -> None:
    gap = "".join(blanks)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
    plain, spaced = " ".join(words), gap + gap.join(words) + gap
    assert fold(spaced) == fold(plain)
    one, other = sketch(pa.array([plain])), sketch(pa.array([spaced]))
    assert overlap(one, other)[0] == 1.0
    assert blank(pa.array([gap, "a"])).tolist() == [True, False]


def evaluation(folder: Path, **settings: Any) -> tuple[list[str], SetReading]:
    config = EvaluationSet(name="set", path=str(folder), **settings)
    read = SetReading()
    return list(texts_of(config, set_files(config, ""), read)), read


def test_every_file_of_an_evaluation_set_is_read(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\t2\t1\n")
    (tmp_path / "README.md").write_text("# About")
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "first"}\n{"text": "second"}\n')
    (tmp_path / "b.csv").write_text("id;text\n1;third\n")
    (tmp_path / "c.json").write_text('[{"query": "fourth"}]')
    assert evaluation(tmp_path)[0] == ["first", "second", "third", "fourth"]


def test_what_a_set_cannot_give_is_counted_and_stops_above_a_share(tmp_path: Path) -> None:
    lines = "\n".join(f'{{"text": "text {number}"}}' for number in range(40))
    (tmp_path / "a.jsonl").write_text(f'{lines}\n{{"text": "broken')
    texts, read = evaluation(tmp_path)
    assert (len(texts), read.rows, dict(read.unreadable)) == (40, 41, {"invalid_json": 1})
    with pytest.raises(DataError, match="would not be kept out"):
        evaluation(tmp_path, max_rejected_share=0.0)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("b.xlsx", "PK", "unknown suffix"),
        ("b.txt", "a text", "unknown suffix"),
        ("b.csv", "id,body\n1,x\n", "no column"),
    ],
)
def test_a_file_of_a_set_that_cannot_be_read_is_refused_unless_excluded(
    tmp_path: Path, name: str, data: str, said: str
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "first"}')
    (tmp_path / name).write_text(data)
    with pytest.raises(DataError, match=said):
        evaluation(tmp_path)
    assert evaluation(tmp_path, exclude=("b.*",))[0] == ["first"]
