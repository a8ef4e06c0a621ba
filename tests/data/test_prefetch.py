"""Batches taken ahead come in order, and an error of the feed reaches the trainer."""

import threading
from collections.abc import Iterator

import pytest

from engine.worlds import make_batch
from polyglossa.data.batch import RankBatch
from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.errors import TrainingError


def batches(count: int, *, fails: bool = False) -> Iterator[RankBatch]:
    for step in range(count):
        yield make_batch(step, 0, 1)
    if fails:
        raise TrainingError("the feed broke")


def test_batches_come_in_order() -> None:
    found = list(PrefetchedBatches(batches(7)))
    assert [batch.step for batch in found] == list(range(7))
    assert all(batch.wait_seconds >= 0 for batch in found)


def test_an_error_of_the_feed_reaches_the_trainer_after_the_batches_before_it() -> None:
    seen: list[int] = []
    with pytest.raises(TrainingError, match="the feed broke"):
        seen.extend(batch.step for batch in PrefetchedBatches(batches(3, fails=True)))
    assert seen == [0, 1, 2]


def test_closing_ends_the_thread() -> None:
    ahead = PrefetchedBatches(batches(100))
    next(iter(ahead))
    ahead.close()
    assert all(thread is not ahead._thread or not thread.join(2.0) for thread in threading.enumerate())
    assert not ahead._thread.is_alive()
