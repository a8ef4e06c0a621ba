"""Chunks and their dealing: the same for any number of ranks, little padding, equal counts (promise 1)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyglossa.data.layout import DUMMY, Chunks, chunk_texts, deal

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=200).map(lambda values: np.array(values, dtype=np.int64))


def padded_sizes(lengths: np.ndarray, chunks: Chunks) -> list[int]:
    in_order = lengths[chunks.order_T]
    return [int(in_order[chunks.rows(c)].max()) * len(chunks.rows(c)) for c in range(chunks.count)]


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, budget=st.integers(16, 500))
def test_every_text_is_in_one_chunk_within_the_budget(lengths: np.ndarray, budget: int) -> None:
    chunks = chunk_texts(lengths, budget)
    assert sorted(chunks.order_T.tolist()) == list(range(len(lengths)))
    assert np.concatenate([chunks.rows(c) for c in range(chunks.count)]).tolist() == list(range(len(lengths)))
    sizes = padded_sizes(lengths, chunks)
    assert sizes == chunks.padded_C.tolist()
    for chunk, size in enumerate(sizes):
        assert size <= budget or len(chunks.rows(chunk)) == 1


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, world=st.integers(1, 9))
def test_every_rank_runs_as_many_chunks_and_every_chunk_runs_once(lengths: np.ndarray, world: int) -> None:
    chunks = chunk_texts(lengths, 128)
    dealt = deal(chunks, world)
    assert dealt.chunk_WS.shape[0] == world
    real = dealt.chunk_WS[dealt.chunk_WS != DUMMY]
    assert sorted(real.tolist()) == list(range(chunks.count))
    assert (dealt.chunk_WS == DUMMY).sum() < world


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, world=st.integers(1, 9))
def test_gathered_rows_find_their_way_back_into_table_order(lengths: np.ndarray, world: int) -> None:
    chunks = chunk_texts(lengths, 128)
    dealt = deal(chunks, world)
    gathered = np.full(world * dealt.rows_per_rank, -1)
    for rank in range(world):
        own = np.concatenate([chunks.rows(chunk) for chunk in dealt.chunk_WS[rank]])
        gathered[rank * dealt.rows_per_rank : rank * dealt.rows_per_rank + len(own)] = own
    assert gathered[dealt.gather_T].tolist() == list(range(len(lengths)))


def test_one_rank_holds_the_table_as_it_is() -> None:
    rng = np.random.default_rng(0)
    chunks = chunk_texts(rng.integers(1, 60, 100), 256)
    dealt = deal(chunks, 1)
    own = np.concatenate([chunks.rows(chunk) for chunk in dealt.chunk_WS[0]])
    assert own[dealt.gather_T].tolist() == list(range(100))


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_carry_about_equal_loads(world: int) -> None:
    rng = np.random.default_rng(1)
    chunks = chunk_texts(np.minimum(128, rng.geometric(0.03, 512)), 2048)
    dealt = deal(chunks, world)
    loads = [sum(int(chunks.padded_C[c]) for c in slots if c != DUMMY) for slots in dealt.chunk_WS]
    assert max(loads) <= 1.1 * np.mean(loads)


def test_padding_of_a_batch_of_mixed_lengths_stays_under_five_percent() -> None:
    rng = np.random.default_rng(2)
    lengths = np.minimum(512, rng.geometric(0.01, 512) + 3)
    chunks = chunk_texts(lengths, 2048)
    assert 1 - lengths.sum() / chunks.padded_tokens < 0.05


def test_a_text_longer_than_the_budget_stands_alone() -> None:
    chunks = chunk_texts(np.array([5, 300, 6, 7]), 64)
    assert chunks.rows(0).tolist() == [0]
    assert chunks.order_T[0] == 1


def test_a_batch_of_one_text_gives_other_ranks_dummies() -> None:
    dealt = deal(chunk_texts(np.array([7]), 64), 4)
    assert dealt.chunk_WS.tolist() == [[0], [DUMMY], [DUMMY], [DUMMY]]
    assert dealt.rows_per_rank == 1
