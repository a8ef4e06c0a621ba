"""Blocks of the feed: k consecutive steps of one rank as one Arrow row. Run by Ray's data workers: no torch, no Ray."""

from collections.abc import Iterator
from functools import lru_cache

import pyarrow as pa

from polyglossa.data.feed_spec import BatchMaker, FeedSpec

BLOCK = pa.schema([("rank", pa.int32()), ("first_step", pa.int64()), ("steps", pa.list_(pa.large_binary()))])


def make_blocks(spec: FeedSpec, world: int, stretch: range, steps_per_block: int) -> Iterator[pa.Table]:
    """Make a stretch of steps: for every k steps one block per rank, rank after rank.

    Args:
        spec: the stage's data.
        world: number of ranks.
        stretch: the steps.
        steps_per_block: k; the last blocks of the plan may hold fewer.
    """
    maker = _maker(spec)
    for first in range(stretch.start, stretch.stop, steps_per_block):
        steps = range(first, min(stretch.stop, first + steps_per_block))
        made = [maker.payloads(step, list(range(world)), world) for step in steps]
        for rank in range(world):
            row = {"rank": rank, "first_step": first, "steps": [payloads[rank] for payloads in made]}
            yield pa.Table.from_pylist([row], schema=BLOCK)


@lru_cache(maxsize=2)
def _maker(spec: FeedSpec) -> BatchMaker:
    """Keep the plan, file footers and last bundles of a spec in the Ray worker between tasks."""
    return BatchMaker(spec)
