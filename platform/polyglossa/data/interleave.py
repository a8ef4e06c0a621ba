"""Streams of batches, and how their turns interleave.

A stream is a source's own whole batches, or the pool of a task: tails of its sources, and sources smaller than a batch.
"""

import random
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from polyglossa.data.counter_rng import hash63
from polyglossa.data.plan_types import Ints, PlanSettings, PlanSource
from polyglossa.errors import DataError


@dataclass(frozen=True)
class Piece:
    """Consecutive positions of a source's epoch order."""

    source: int
    start: int
    stop: int


@dataclass(frozen=True)
class Stream:
    """A sequence of batches: one source's own, or a task's pool."""

    name: str
    task: str
    batches: int
    """Batches of one epoch of the stream."""
    weight: float
    source: int | None
    """Number of the source; None for a pool."""
    members: tuple[Piece, ...] = ()
    """What a pool holds."""


def streams_of(sources: Sequence[PlanSource], settings: PlanSettings) -> tuple[Stream, ...]:
    """Deal the batches of one epoch to streams.

    Raises:
        DataError: a source has no weight.
    """
    size, weights = settings.global_batch, _weights(sources, settings.source_weights)
    streams: list[Stream] = []
    pools: dict[str, list[Piece]] = {}
    for number, source in enumerate(sources):
        own = source.rows // size
        if own:
            streams.append(Stream(source.name, source.task, own, weights[number] * own * size / source.rows, number))
        if source.rows % size:
            pools.setdefault(source.task, []).append(Piece(number, own * size, source.rows))
    for task, members in sorted(pools.items()):
        rows = sum(piece.stop - piece.start for piece in members)
        weight = sum(weights[p.source] * (p.stop - p.start) / sources[p.source].rows for p in members)
        streams.append(Stream(f"pool/{task}", task, -(-rows // size), weight, None, tuple(members)))
    return tuple(streams)


def _weights(sources: Sequence[PlanSource], given: Mapping[str, float] | None) -> list[float]:
    if given is None:
        return [float(source.rows) for source in sources]
    names = {source.name for source in sources}
    if names - set(given) or any(given[name] <= 0 for name in names):
        missing = ", ".join(sorted(name for name in names if given.get(name, 0) <= 0))
        raise DataError(
            f"source_weights: no positive weight for {missing}; weigh every source, or leave it out of `sources`."
        )
    return [given[source.name] for source in sources]


def schedule(streams: Sequence[Stream], turns: Ints, seed: int, period: int) -> tuple[Ints, Ints]:
    """Interleave streams: the j-th of a stream's n turns stands at (j + u) / n, u its own random offset.

    Args:
        streams: what takes turns.
        turns: how many each has in one period.
        seed: of the offsets.
        period: number of the period.

    Returns:
        The stream of every position of the period, and which of its turns that is.
    """
    stream = np.repeat(np.arange(len(turns)), turns)
    turn = np.arange(len(stream)) - np.repeat(np.cumsum(turns) - turns, turns)
    offsets = [hash63(seed, "turn", one.name, period) / 2**63 for one in streams]
    order = np.argsort((turn + np.array(offsets)[stream]) / turns[stream], kind="stable")
    return stream[order], turn[order]


def draw_order(streams: Sequence[Stream], turns: Ints, period: int) -> tuple[Ints, Ints]:
    """Draw the stream of each turn, each to exhaustion, as F2LLM-v2's script draws files.

    The weights are the turns at the start of the period, whatever is left of them; a draw that meets a stream without a
    turn left takes it out, and is made again. `random.Random(period)` draws, over names in order.

    Args:
        streams: what takes turns.
        turns: how many each has in one period.
        period: number of the period; the seed.

    Returns:
        The stream of every position of the period, and which of its turns that is.
    """
    names = sorted((int(number) for number in np.flatnonzero(turns)), key=lambda number: streams[number].name)
    rng, taken = random.Random(period), np.zeros(len(turns), dtype=np.int64)
    sums = list(accumulate(int(turns[number]) for number in names))
    order: list[tuple[int, int]] = []
    while names:
        # What `random.choices` does, spelled out: of the module only `random()` is promised to stay as it is.
        place = bisect(sums, rng.random() * (sums[-1] + 0.0), 0, len(names) - 1)
        number = names[place]
        if taken[number] < turns[number]:
            order.append((number, int(taken[number])))
            taken[number] += 1
        else:
            del names[place]
            sums = list(accumulate(int(turns[number]) for number in names))
    stream, turn = np.array(order, dtype=np.int64).reshape(-1, 2).T
    return stream, turn


def turns_by_weight(streams: Sequence[Stream]) -> Ints:
    """Turns of each stream in one epoch of the plan: by weight, rounded by largest remainder, at least one."""
    batches = np.array([stream.batches for stream in streams], dtype=np.int64)
    weights = np.array([stream.weight for stream in streams])
    share = weights / weights.sum() * batches.sum()
    counts = np.maximum(1, np.floor(share)).astype(np.int64)
    for _ in range(abs(int(batches.sum() - counts.sum()))):
        if counts.sum() < batches.sum():
            counts[np.argmax(share - counts)] += 1
        else:
            counts[np.argmin(np.where(counts > 1, share - counts, np.inf))] -= 1
    return counts


def cut(pieces: Sequence[Piece], start: int, stop: int) -> list[Piece]:
    """Take positions [start, stop) of the pieces laid end to end."""
    taken, offset = [], 0
    for piece in pieces:
        first, last = max(start, offset), min(stop, offset + piece.stop - piece.start)
        if first < last:
            taken.append(Piece(piece.source, piece.start + first - offset, piece.start + last - offset))
        offset += piece.stop - piece.start
    return taken
