"""Teacher bundles are token bundles row for row, and a text is embedded once however many bundles hold it."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from polyglossa.distill.store import Remembered, teacher_bundles
from polyglossa.errors import TrainingError
from polyglossa.records import TEACHER_BUNDLE, TOKEN_BUNDLE


def bundle(number: int, *texts: int) -> pa.Table:
    row = {name: [] for name in TOKEN_BUNDLE.names} | {
        "source": "alpha",
        "task": "retrieval",
        "bundle": number,
        "tokens": [[text, text + 1] for text in texts],
        "text_ids": [text.to_bytes(16, "big") for text in texts],
    }
    return pa.Table.from_pylist([row], schema=TOKEN_BUNDLE)


class Teacher:
    """Embeds a text as its first token, and counts."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, texts: Sequence[NDArray[np.uint32]]) -> NDArray[np.float16]:
        self.seen += [int(text[0]) for text in texts]
        return np.array([[text[0], 0.5] for text in texts], dtype=np.float16)


def states(bundles: Iterator[pa.Table]) -> list[list[float]]:
    return [[state[0] for state in table.column("states").to_pylist()[0]] for table in bundles]


@pytest.mark.parametrize("window", [1, 100])
def test_states_stand_in_the_order_of_the_bundles_texts(window: int) -> None:
    teacher = Teacher()
    bundles = [bundle(0, 5, 3, 9), bundle(1, 3, 4), bundle(2, 9)]
    found = teacher_bundles(iter(bundles), teacher, remembered=Remembered(1 << 20), window_texts=window)
    tables = list(found)
    assert states(iter(tables)) == [[5.0, 3.0, 9.0], [3.0, 4.0], [9.0]]
    assert sorted(teacher.seen) == [3, 4, 5, 9]
    assert all(table.schema == TEACHER_BUNDLE for table in tables)
    assert [table.column("text_ids") for table in tables] == [table.column("text_ids") for table in bundles]


def test_forgotten_texts_are_embedded_again() -> None:
    teacher = Teacher()
    bundles = [bundle(0, 1), bundle(1, 2), bundle(2, 1)]
    tables = teacher_bundles(iter(bundles), teacher, remembered=Remembered(4), window_texts=1)
    assert states(tables) == [[1.0], [2.0], [1.0]]
    assert teacher.seen == [1, 2, 1]


def test_states_beyond_float16_stop_the_stage() -> None:
    def broken(texts: Sequence[NDArray[np.uint32]]) -> NDArray[np.float16]:
        return np.full((len(texts), 2), np.inf, dtype=np.float16)

    with pytest.raises(TrainingError, match="float16"):
        list(teacher_bundles(iter([bundle(0, 1)]), broken, remembered=Remembered(1), window_texts=1))
