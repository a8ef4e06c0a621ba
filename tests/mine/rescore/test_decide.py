"""Decisions of a second opinion are those of one row after the other; scores stay beside their texts."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.mine.pools import Rows
from polyglossa.mine.rescore.candidates import list_pairs, searched
from polyglossa.mine.rescore.decide import NO_SCORE, decide
from polyglossa.mine.work import FOUND
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import PAIR, row_id, text_id

DOCUMENTS = pa.table({"doc_id": pa.array([text_id(str(n)) for n in range(30)], pa.binary(16)),
                      "text": [f"document {n}" for n in range(30)]})  # fmt: skip


def config(**rescore: Any) -> MineConfig:
    settings = {name: rescore.pop(name) for name in ("negatives", "short", "top_k") if name in rescore}
    return MineConfig(model="m", rescore={"model": "c", **rescore}, **{"negatives": 2, "top_k": 20, **settings})


def rows_of(positives: list[list[int]]) -> Rows:
    rows = [
        dict.fromkeys(PAIR.names)
        | {
            "pair_id": row_id(str(number)), "query": f"query {number}", "task": "retrieval", "split": "train",
            "source": "s", "positive_ids": [text_id(str(document)) for document in own],
        }
        for number, own in enumerate(positives)
    ]  # fmt: skip
    return Rows.read({"s": pa.Table.from_pylist(rows, schema=PAIR)}, DOCUMENTS)


def found_of(negatives: list[list[int]], filled: list[int], reasons: list[str | None]) -> pa.Table:
    rows = [
        dict.fromkeys(FOUND.names)
        | {
            "row": row, "negatives": own, "negative_scores": [n / 100 for n in own], "filled": filled[row],
            "positive_score": 0.9, "reason": reasons[row], "refused": [0] * 8, "pool": "s",
        }
        for row, own in enumerate(negatives)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=FOUND)


def test_pairs_are_each_rows_positives_then_its_candidates() -> None:
    rows = rows_of([[1, 2], [3], [4]])
    pairs = list_pairs(found_of([[10, 11], [12], []], [0, 0, 0], [None, "no_candidates", None]), rows, DOCUMENTS)
    assert pairs.offsets.tolist() == [0, 4, 4, 5]
    assert pairs.positives_R.tolist() == [2, 0, 1]
    assert pairs.table.column("document").to_pylist() == [f"document {n}" for n in (1, 2, 10, 11, 4)]
    assert pairs.table.column("query").to_pylist() == ["query 0"] * 4 + ["query 2"]
    assert pairs.table.column("key")[2].as_py() == row_id("query 0", "document 10")


row = st.tuples(
    st.lists(st.floats(0, 1, width=16), min_size=1, max_size=3),
    st.lists(st.one_of(st.floats(0, 1, width=16), st.just(float("nan"))), max_size=6),
    st.integers(0, 6),
    st.sampled_from([None, None, None, "no_candidates"]),
)


@given(st.lists(row, min_size=1, max_size=6), st.floats(0, 0.5, width=16), st.sampled_from(["keep", "drop", "fill"]))
def test_decisions_are_those_of_one_row_after_the_other(
    rows: list[tuple[list[float], list[float], int, str | None]], margin: float, short: str
) -> None:
    settings = config(margin=margin, short=short)
    positives = [list(range(len(own))) for own, *_ in rows]
    negatives = [[10 + place for place in range(len(own))] for _, own, *_ in rows]
    filled = [min(count, len(own)) for _, own, count, _ in rows]
    found = found_of(negatives, filled, [reason for *_, reason in rows])
    pairs = list_pairs(found, rows_of(positives), DOCUMENTS)
    scores = [score for own, others, _, reason in rows if reason is None for score in (*own, *others)]
    decided = decide(found, pairs, np.array(scores, np.float32), settings).to_pylist()
    for (own, others, _, reason), drawn, got in zip(rows, filled, decided, strict=True):
        if reason is not None:
            assert got["reason"] == reason
            assert got["negatives"] == got["candidate_scores"] == []
            continue
        bar = np.float32(min(own)) - np.float32(margin)
        allowed = [place for place, score in enumerate(others) if np.float32(score) < bar]
        kept = allowed[:2]
        assert got["negatives"] == [10 + place for place in kept]
        np.testing.assert_allclose(got["negative_scores"], [(10 + place) / 100 for place in kept], rtol=1e-6)
        assert got["candidate_scores"] == [*own, *(others[place] for place in kept)]
        refused = [place for place, score in enumerate(others) if np.float32(score) >= bar]
        assert got["false_negatives"] == [10 + place for place in refused]
        assert got["false_negative_scores"] == [others[place] for place in refused]
        assert got["unscored"] == sum(score != score for score in others)
        assert got["filled"] == sum(place >= len(others) - drawn for place in kept)
        assert got["reason"] == ("too_few_negatives" if short == "drop" and len(kept) < 2 else None)


def test_a_row_whose_positive_has_no_score_is_rejected_with_that_reason() -> None:
    found, rows = found_of([[10], [11]], [0, 0], [None, None]), rows_of([[1, 2], [3]])
    scores = np.array([0.9, np.nan, 0.1, 0.9, 0.1], np.float32)
    first, second = decide(found, list_pairs(found, rows, DOCUMENTS), scores, config()).to_pylist()
    assert (first["reason"], second["reason"]) == (NO_SCORE, None)
    assert first["negatives"] == []
    assert second["candidate_scores"] == pytest.approx([0.9, 0.1])


def test_the_search_is_told_to_bring_spare_candidates_as_far_as_the_window_reaches() -> None:
    assert searched(config(negatives=4, spare=5)).negatives == 9
    assert searched(config(negatives=4, spare=50, top_k=12)).negatives == 12
    assert [searched(config(short=short)).short for short in ("drop", "keep", "fill")] == ["keep", "keep", "fill"]
    plain = MineConfig(model="m")
    assert searched(plain) is plain
    assert "rescore" not in plain.model_dump(mode="json")
