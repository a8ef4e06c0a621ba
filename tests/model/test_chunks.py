"""Chunks: every text once, within the token budget, with little padding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.model.chunks import chunk_by_tokens, padding_share


@given(st.lists(st.integers(1, 300), max_size=200), st.integers(1, 1000))
def test_every_text_is_in_one_chunk_and_chunks_fit_the_budget(lengths: list[int], budget: int) -> None:
    chunks = chunk_by_tokens(lengths, budget)
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(lengths)))
    for chunk in chunks:
        assert len(chunk) == 1 or len(chunk) * max(lengths[index] for index in chunk) <= budget


def test_equal_lengths_keep_their_order() -> None:
    assert chunk_by_tokens([5, 5, 9, 5], 10) == [[2], [0, 1], [3]]


def test_sorting_leaves_little_padding() -> None:
    lengths = [4 + (index * 37) % 100 for index in range(512)]
    assert padding_share(lengths, chunk_by_tokens(lengths, 2048)) < 0.08
    assert padding_share([], []) == 0.0


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="budget: 0"):
        chunk_by_tokens([1], 0)
