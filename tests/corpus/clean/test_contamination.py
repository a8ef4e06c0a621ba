"""Protects evaluation: copies of evaluation texts are found in whatever dress, and other texts are left alone."""

import numpy as np
import pytest

from polyglossa.corpus.clean.contamination import Contamination, build_index
from polyglossa.corpus.sources.candidates import candidate_table

PASSAGE = (
    "The river rises in the northern hills. It runs through three provinces before it meets the sea near the old "
    "harbour. Its delta is home to thousands of birds."
)
THAI = "แม่น้ำสายนี้ไหลผ่านสามจังหวัดก่อนจะลงสู่ทะเลใกล้ท่าเรือเก่าของเมือง"
EVALUATION = [PASSAGE, "Where does the river rise?", "Straße", THAI]


def mark(*texts: str, role: str = "positives", task: str = "retrieval", split: str | None = None) -> list[str | None]:
    columns: dict[str, list[object]] = {
        "query": ["a question of its own"] * len(texts),
        "positives": [["an answer"]] * len(texts),
    }
    columns[role] = [text if role == "query" else [text] for text in texts]
    columns["split"] = [split] * len(texts)
    table = candidate_table(columns, task=task, source="s")
    reasons = np.full(len(texts), None, dtype=object)
    index = build_index("bench", EVALUATION, 50, 30)
    found = Contamination(np.zeros(0, np.uint64), [index], 50, 30).mark(table, reasons)
    assert sum(found["bench"].values()) == sum(reason is not None for reason in reasons)
    return reasons.tolist()


@pytest.mark.parametrize(
    "copy", [PASSAGE, PASSAGE.upper(), PASSAGE.replace(" ", "\n\t "), "STRASSE", "Ｗhere does the river rise?"]
)
def test_whole_copies_are_found_whatever_their_case_white_space_and_width(copy: str) -> None:
    assert mark(copy) == ["contaminated_document"]
    assert mark(copy, role="query") == ["contaminated_query"]
    assert mark(copy, role="negatives") == ["contaminated_document"]


def test_one_sentence_in_a_longer_text_is_found_from_fifty_characters_on() -> None:
    sentence = "It runs through three provinces before it meets the sea near the old harbour."
    assert mark(f"Something else first. {sentence} And after.") == ["contaminated_block"]
    assert mark("x" + sentence[:50] + "x", "x" + sentence[:49] + "x") == ["contaminated_block", None]


def test_scripts_without_spaces_are_found_from_thirty_characters_on() -> None:
    assert mark("ก่อน" + THAI[5:35] + "หลัง") == ["contaminated_block"]
    assert mark("ก่อน " + THAI[5:32] + " หลัง") == [None]
    assert mark(PASSAGE[:40]) == [None]  # 40 characters of a script with spaces are no block


def test_other_texts_heldout_rows_and_labels_stay() -> None:
    assert mark("The river rises in the southern hills, and nobody knows why.") == [None]
    assert mark("short", "", "a") == [None, None, None]
    assert mark(PASSAGE, split="heldout") == [None]
    assert mark("Straße", task="classification") == [None]


def test_blocks_do_not_cross_from_one_text_into_the_next() -> None:
    joined = PASSAGE[-25:] + "Where does the river rise?"
    assert mark(joined) == [None]
