"""Answers are kept by key across processes and runs, each once; what is half-written is not seen."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.answer_store import AnswerStore
from polyglossa.errors import ArtifactError
from polyglossa.records import text_id


def keys(numbers: list[int]) -> pa.Array:
    return pa.array([text_id(str(number)) for number in numbers], pa.binary(16))


@given(st.lists(st.lists(st.integers(0, 20), max_size=8), max_size=5), st.lists(st.integers(0, 25), max_size=12))
def test_every_key_finds_its_first_answer_or_null(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[int]], asked: list[int]
) -> None:
    root, known = str(tmp_path_factory.mktemp("store")), dict[int, str]()
    for shard in shards:
        new = [number for number in dict.fromkeys(shard) if number not in known]
        AnswerStore(root, "f", pa.string()).append(keys(new), pa.array([f"answer {n}" for n in new], pa.string()))
        known |= {number: f"answer {number}" for number in new}
    store = AnswerStore(root, "f", pa.string())
    assert store.read(keys(asked)).to_pylist() == [known.get(number) for number in asked]
    assert store.holds(keys(asked)).tolist() == [number in known for number in asked]
    assert len(store) == len(known)


def test_answers_of_others_show_and_half_written_ones_do_not(tmp_path: Path) -> None:
    store, other = (AnswerStore(str(tmp_path), "f", pa.float32()) for _ in range(2))
    store.append(keys([1]), pa.array([0.5], pa.float32()))
    other.append(keys([2]), pa.array([np.nan], pa.float32()))
    (tmp_path / "answers/f/left.part").write_bytes(b"half")
    store.refresh()
    assert store.read(keys([2, 1, 3])).is_valid().to_pylist() == [True, True, False]
    with pytest.raises(ArtifactError, match="holds other values than string"):
        AnswerStore(str(tmp_path), "f", pa.string()).refresh()
