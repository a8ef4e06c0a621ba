"""Passes: every text once, within the token budget, longest first; common beginnings are taken out once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.model.pass_plan import cut_passes, plan_passes, shared_beginnings


@given(st.lists(st.integers(1, 90), max_size=60), st.integers(1, 80))
def test_every_text_is_in_one_pass_and_passes_keep_the_budget(lengths: list[int], budget: int) -> None:
    passes = cut_passes(lengths, budget)
    assert sorted(index for rows in passes for index in rows) == list(range(len(lengths)))
    assert all(len(rows) == 1 or sum(lengths[index] for index in rows) <= budget for rows in passes)
    flat = [lengths[index] for rows in passes for index in rows]
    assert flat == sorted(flat, reverse=True)


def test_equal_lengths_keep_their_order() -> None:
    assert cut_passes([5, 5, 9, 5], 10) == [[2], [0, 1], [3]]


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="budget: 0"):
        cut_passes([1], 0)


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 3), min_size=1, max_size=12)), max_size=80),
    st.integers(1, 64),
)
def test_parts_put_back_together_are_the_texts(drawn: list[tuple[bool, list[int]]], budget: int) -> None:
    beginning = list(range(10, 20))
    token_ids = [beginning * prompted + tokens for prompted, tokens in drawn]
    for share in (False, True):
        found: dict[int, list[int]] = {}
        for one in plan_passes(token_ids, budget, share=share):
            own = one.parts[1:] if one.shared else one.parts
            before = list(one.parts[0]) if one.shared else []
            assert all(len(part) for part in own)
            found |= {index: before + list(part) for index, part in zip(one.texts, own, strict=True)}
        assert found == dict(enumerate(token_ids))


def test_a_beginning_of_many_texts_is_computed_once_a_pass() -> None:
    token_ids = [[*range(10), 90 + index] for index in range(40)]
    passes = plan_passes(token_ids, 30, share=True)
    assert [len(one.texts) for one in passes] == [20, 20]
    assert all(one.shared and list(one.parts[0]) == list(range(10)) for one in passes)
    assert not any(one.shared for one in plan_passes(token_ids[:15], 30, share=True))


def test_a_beginning_is_shared_as_far_as_all_texts_agree() -> None:
    beginning = list(range(10, 22))
    texts = [[*beginning, index, 0] for index in range(20)] + [[1, 2, 0], [*beginning[:5], 7, 0]]
    assert shared_beginnings(texts) == ([(12, list(range(20)))], [20, 21])


def test_one_token_at_least_stays_behind_the_beginning() -> None:
    texts = [list(range(10, 22))] * 20
    [(shared, indices)], rest = shared_beginnings(texts)
    assert (shared, len(indices), rest) == (11, 20, [])
