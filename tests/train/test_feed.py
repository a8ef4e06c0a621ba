"""The feed through a real streaming split: every rank gets its own micro-batches, all, and in order (promise 2)."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

from data.toy_packs import Consumer, ToySource, write_pack
from polyglossa.data.plan_types import PlanSettings
from polyglossa.data.stream import local_batches
from polyglossa.errors import TrainingError
from polyglossa.train.feed import FeedSpec, StepDataConfig, open_plan, placeholder_datasets, rank_batches

SOURCES = [ToySource("a", 400, negatives=2), ToySource("b", 90, negatives=2), ToySource("c", 11)]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> FeedSpec:
    pack = write_pack(tmp_path_factory.mktemp("pack"), SOURCES)
    return FeedSpec(pack, PlanSettings(global_batch=16, negatives=1, steps=53), 64)


def starts_at(start: int, name: str) -> int:
    return start


def shards_of(spec: FeedSpec, world: int, start: int) -> list[Any]:
    config = StepDataConfig({"run": spec}, partial(starts_at, start), steps_per_block=4, blocks_per_task=2)
    return [shard["run"] for shard in config.configure(placeholder_datasets(["run"]), world)]


def receive(spec: FeedSpec, world: int, start: int) -> list[list[dict[str, Any]]]:
    consumers = [Consumer.remote() for _ in range(world)]
    # The second worker is slow: order must not depend on who asks first.
    calls = [
        consumer.receive.remote(shard, rank, world, start, 0.01 * rank)
        for rank, (consumer, shard) in enumerate(zip(consumers, shards_of(spec, world, start), strict=True))
    ]
    return ray.get(calls)


def test_two_ranks_receive_what_the_plan_says_in_order(ray_local: None, spec: FeedSpec) -> None:
    assert open_plan(spec).total_steps == 53
    for rank, received in enumerate(receive(spec, 2, 0)):
        wanted = local_batches(spec, rank=rank, world=2)
        assert [item["step"] for item in received] == list(range(53))
        for item, batch in zip(received, wanted, strict=True):
            assert item["own"] == batch.own_R.tolist()
            assert item["tokens"] == [chunk.tokens.tolist() for chunk in batch.chunks]
            assert item["seeds"] == [chunk.seed for chunk in batch.chunks]
            assert item["query"] == batch.query_Q.tolist()
            assert item["wait"] > 0


def test_a_resumed_run_with_another_number_of_workers_sees_the_steps_it_would_have_seen(
    ray_local: None, spec: FeedSpec
) -> None:
    (received,) = receive(spec, 1, 21)
    assert [item["step"] for item in received] == list(range(21, 53))
    wanted = [batch.query_Q.tolist() for batch in local_batches(spec, rank=1, world=2, start=21)]
    assert [item["query"] for item in received] == wanted


def test_a_batch_that_belongs_to_another_rank_stops_the_run(ray_local: None, spec: FeedSpec) -> None:
    (shard,) = shards_of(spec, 1, 0)
    with pytest.raises(TrainingError, match="gave rank 1 of 2 the batch of step 0, rank 0 of 1, where step 0 was due"):
        next(rank_batches(shard, rank=1, world=2, start=0))
    (shard,) = shards_of(spec, 1, 4)
    with pytest.raises(TrainingError, match="step 4, rank 0 of 1, where step 0 was due"):
        next(rank_batches(shard, rank=0, world=1, start=0))


def test_a_finished_run_has_nothing_left_to_feed(ray_local: None, spec: FeedSpec) -> None:
    (received,) = receive(spec, 1, 53)
    assert received == []


def test_the_feed_names_a_pack_that_is_gone(ray_local: None, tmp_path: Path) -> None:
    gone = FeedSpec(str(tmp_path / "gone"), PlanSettings(16), 64)
    with pytest.raises(FileNotFoundError, match="gone"):
        shards_of(gone, 1, 0)
