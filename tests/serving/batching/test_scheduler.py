"""Batching: nobody starves, a batch keeps its budget, what nobody wants is not computed."""

import asyncio

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from polyglossa.serving.batching.scheduler import Item, Scheduler


def item(size: int) -> Item:
    loop = asyncio.new_event_loop()
    try:
        return Item(b"", loop.create_future(), np.zeros(size, np.int32), size, wanted=1)
    finally:
        loop.close()


def sizes(batch: list[Item]) -> list[int]:
    return [one.size for one in batch]


def test_small_request_travels_with_the_first_batch_after_a_large_one() -> None:
    waiting = Scheduler()
    waiting.add(item(10) for _ in range(100))
    waiting.add([item(7)])
    assert 7 in sizes(waiting.take(100))


def test_large_request_is_not_starved_by_a_stream_of_small_ones() -> None:
    waiting = Scheduler()
    waiting.add(item(10) for _ in range(20))
    taken = []
    for _ in range(4):
        for _ in range(50):
            waiting.add([item(9)])
        taken.append(sizes(waiting.take(100)).count(10))
    assert sum(taken) == 20  # half of each batch is the large request's, though small ones keep coming


def test_oversize_text_travels_alone_once_its_request_is_the_oldest() -> None:
    waiting = Scheduler()
    waiting.add([item(5)])
    waiting.add([item(500)])
    for _ in range(50):
        waiting.add([item(5)])
    assert 500 not in sizes(waiting.take(100))
    assert sizes(waiting.take(100)) == [500]
    assert 500 not in sizes(waiting.take(100))


def test_unwanted_text_is_dropped() -> None:
    waiting = Scheduler()
    gone, kept = item(3), item(4)
    waiting.add([gone, kept])
    gone.wanted = 0
    assert waiting.take(100) == [kept]
    assert not waiting


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=12), min_size=1, max_size=12), st.integers(1, 50))
def test_every_text_leaves_exactly_once_and_batches_keep_the_budget(requests: list[list[int]], budget: int) -> None:
    waiting = Scheduler()
    items = [[item(size) for size in request] for request in requests]
    for request in items:
        waiting.add(request)
    taken: list[Item] = []
    while waiting:
        batch = waiting.take(budget)
        assert batch
        assert sum(sizes(batch)) <= budget or len(batch) == 1
        taken += batch
    assert sorted(map(id, taken)) == sorted(id(one) for request in items for one in request)
