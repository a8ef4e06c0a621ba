"""The step plan: which examples every step trains on, as a pure function of (index, settings, seed).

Counter-based: `plan.at(step)` needs no iterator state, so a resumed run starts anywhere. The plan knows nothing of
ranks. A source fills whole batches of its own; its tail, and sources smaller than a batch, go to a pool of their task,
where rows of one source stay together so that they are each other's in-batch negatives. A pool's last batch is
completed with rows it does not hold yet. Streams (sources and pools) interleave smoothly by weight.

Random bits are Philox's raw output under a hashed key: stable across numpy versions, unlike `Generator.permutation`.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyglossa.errors import DataError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PlanSource:
    """What the plan knows of a source: sizes only."""

    name: str
    task: str
    in_batch: bool
    """Whether the in-batch term applies to it."""
    bundle_rows: Ints
    """Examples of each bundle."""
    negatives: int = 0
    """Negatives that its rows have, all together; 0 means it can only learn in-batch."""

    @property
    def rows(self) -> int:
        """Examples of the source."""
        return int(self.bundle_rows.sum())


@dataclass(frozen=True)
class PlanSettings:
    """The part of a training stage that shapes the order of data."""

    global_batch: int
    """Examples per step over all workers."""
    negatives: int = 0
    """Negatives per query and step; 0 trains in-batch only."""
    task_negatives: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Negatives per query of single tasks, where they differ from `negatives`."""
    epochs: float = 1.0
    steps: int | None = None
    """Number of steps; None derives it from `epochs`."""
    source_weights: Mapping[str, float] | None = field(default=None, hash=False)
    """Relative share of steps per source; None is proportional to rows."""
    seed: int = 0
    slices: int = 4
    """Pieces that a bundle's rows are dealt into anew each epoch, so that batches mix more bundles."""

    def negatives_of(self, task: str) -> int:
        """Negatives per query of a task."""
        return self.task_negatives.get(task, self.negatives) if self.negatives else 0


@dataclass(frozen=True)
class Part:
    """Rows of one bundle."""

    source: int
    """Number of the source in the plan."""
    bundle: int
    rows: Ints


@dataclass(frozen=True)
class StepPlan:
    """The examples of one step."""

    step: int
    epoch: int
    """Epoch of the stream that the batch comes from."""
    source: str
    task: str
    in_batch: bool
    parts: tuple[Part, ...]
    repeated: int
    """Rows at the end that complete a pool's last batch: their epoch holds them once more elsewhere."""
    negatives: int
    """Negatives per query of this step."""
    seed: int
    """63-bit seed of the step's other choices (negatives, dropout)."""

    @property
    def rows(self) -> int:
        """Examples of the step."""
        return sum(len(part.rows) for part in self.parts)


@dataclass(frozen=True)
class SourceCoverage:
    """Where one epoch's rows of a source go; `own + pooled` is every row once."""

    source: str
    rows: int
    own: int
    """Rows in batches of the source alone."""
    pooled: int
    """Rows in batches of the task's pool."""


@dataclass(frozen=True)
class _Piece:
    """Consecutive positions of a source's epoch order."""

    source: int
    start: int
    stop: int


@dataclass(frozen=True)
class _Stream:
    """A sequence of batches: one source's own, or a task's pool."""

    name: str
    task: str
    batches: int
    """Batches of one epoch of the stream."""
    weight: float
    source: int | None
    """Number of the source; None for a pool."""
    members: tuple[_Piece, ...] = ()
    """What a pool holds."""


class Plan:
    """The order of a stage's training data. Build it anywhere from the same index and settings: it is the same plan."""

    def __init__(self, sources: Sequence[PlanSource], settings: PlanSettings):
        usable = [source for source in sources if source.rows and _learns(source, settings)]
        self.skipped = {source.name: _reason(source) for source in sources if source not in usable}
        """Sources that the stage cannot learn from, and why."""
        if not usable:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.skipped.items())
            raise DataError(f"no source of the pack can be trained on ({reasons or 'it has no sources'}).")
        self.sources = tuple(usable)
        self.settings = settings
        self._streams = _streams(self.sources, settings)
        by_rows = settings.source_weights is None
        self._counts = np.array([s.batches for s in self._streams]) if by_rows else _period_counts(self._streams)
        self.steps_per_epoch = int(self._counts.sum())
        self.total_steps = settings.steps or max(1, round(settings.epochs * self.steps_per_epoch))
        self._order = lru_cache(maxsize=4 * len(usable))(self._order_uncached)
        self._schedule = lru_cache(maxsize=2)(self._schedule_uncached)

    def at(self, step: int) -> StepPlan:
        """Return the examples of a step (0 ≤ step)."""
        period, position = divmod(step, self.steps_per_epoch)
        stream_number, turn = self._schedule(period)
        stream = self._streams[stream_number[position]]
        batch = period * int(self._counts[stream_number[position]]) + int(turn[position])
        epoch, number = divmod(batch, stream.batches)
        pieces, completion = self._pieces(stream, epoch, number)
        parts = tuple(part for piece in pieces + completion for part in self._parts(piece, epoch))
        return StepPlan(
            step=step,
            epoch=epoch,
            source=stream.name,
            task=stream.task,
            in_batch=self.sources[parts[0].source].in_batch,
            parts=parts,
            repeated=sum(piece.stop - piece.start for piece in completion),
            negatives=self.settings.negatives_of(stream.task),
            seed=hash63(self.settings.seed, "step", step),
        )

    def coverage(self) -> list[SourceCoverage]:
        """Report where the rows of one epoch go, source by source."""
        pooled: Counter[int] = Counter()
        for stream in self._streams:
            for piece in stream.members:
                pooled[piece.source] += piece.stop - piece.start
        return [
            SourceCoverage(source.name, source.rows, source.rows - pooled[number], pooled[number])
            for number, source in enumerate(self.sources)
        ]

    def rows_seen(self, first: int, last: int) -> dict[str, dict[int, int]]:
        """Count the rows of steps [first, last) per source and epoch."""
        seen: dict[str, Counter[int]] = {source.name: Counter() for source in self.sources}
        for step in range(first, last):
            plan = self.at(step)
            for part in plan.parts:
                seen[self.sources[part.source].name][plan.epoch] += len(part.rows)
        return {name: dict(counts) for name, counts in seen.items()}

    def _pieces(self, stream: _Stream, epoch: int, number: int) -> tuple[list[_Piece], list[_Piece]]:
        """The stream's own positions of a batch, and what completes it."""
        size = self.settings.global_batch
        if stream.source is not None:
            return [_Piece(stream.source, number * size, (number + 1) * size)], []
        names = [self.sources[piece.source].name for piece in stream.members]
        keys = [hash63(self.settings.seed, "pool", name, epoch) for name in names]
        queue = [stream.members[i] for i in np.argsort(keys, kind="stable")]
        pieces = _cut(queue, number * size, (number + 1) * size)
        missing = size - sum(piece.stop - piece.start for piece in pieces)
        return pieces, self._completion(stream, queue, missing)

    def _completion(self, stream: _Stream, queue: list[_Piece], missing: int) -> list[_Piece]:
        """Rows that fill a pool's last batch: the pool's first, or a large source's where the pool is too small."""
        size = self.settings.global_batch
        if missing <= 0:
            return []
        if sum(piece.stop - piece.start for piece in queue) >= size:
            return _cut(queue, 0, missing)
        large = [i for i, s in enumerate(self.sources) if s.task == stream.task and s.rows >= size]
        return [_Piece(max(large, key=lambda i: self.sources[i].rows), 0, missing)] if large else []

    def _parts(self, piece: _Piece, epoch: int) -> list[Part]:
        """Turn positions of a source's epoch order into rows of bundles."""
        bundles, slices, ends = self._order(piece.source, epoch)
        parts, position = [], piece.start
        unit = int(np.searchsorted(ends, position, side="right"))
        while position < piece.stop:
            bundle, start = int(bundles[unit]), int(ends[unit - 1]) if unit else 0
            rows = self._slice_rows(piece.source, epoch, bundle, int(slices[unit]))
            taken = rows[position - start : piece.stop - start]
            parts.append(Part(piece.source, bundle, taken))
            position += len(taken)
            unit += 1
        return parts

    def _slice_rows(self, source: int, epoch: int, bundle: int, piece: int) -> Ints:
        rows = int(self.sources[source].bundle_rows[bundle])
        order = permutation(rows, self.settings.seed, "rows", self.sources[source].name, epoch, bundle)
        slices = self.settings.slices
        return order[rows * piece // slices : rows * (piece + 1) // slices]

    def _order_uncached(self, source: int, epoch: int) -> tuple[Ints, Ints, Ints]:
        """Order of a source's bundle slices in an epoch: bundle, slice, and end position of each."""
        rows, slices = self.sources[source].bundle_rows, self.settings.slices
        bundle, piece = np.divmod(np.arange(len(rows) * slices), slices)
        sizes = rows[bundle] * (piece + 1) // slices - rows[bundle] * piece // slices
        order = permutation(len(bundle), self.settings.seed, "bundles", self.sources[source].name, epoch)
        order = order[sizes[order] > 0]
        return bundle[order], piece[order], np.cumsum(sizes[order])

    def _schedule_uncached(self, period: int) -> tuple[Ints, Ints]:
        """Interleave the streams: the j-th of a stream's n turns stands at (j + u) / n, u its own random offset."""
        stream = np.repeat(np.arange(len(self._counts)), self._counts)
        turn = np.arange(len(stream)) - np.repeat(np.cumsum(self._counts) - self._counts, self._counts)
        offsets = [hash63(self.settings.seed, "turn", s.name, period) / 2**63 for s in self._streams]
        order = np.argsort((turn + np.array(offsets)[stream]) / self._counts[stream], kind="stable")
        return stream[order], turn[order]


def hash63(*parts: Any) -> int:
    """Hash plain values to 63 bits, the same on any machine."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def permutation(size: int, *key: Any) -> Ints:
    """Return the permutation of range(size) that belongs to a key."""
    bits = np.random.Philox(key=hash63(*key)).random_raw(size)
    return np.argsort(bits, kind="stable")


def select_sources(sources: Sequence[PlanSource], names: Sequence[str] | None) -> list[PlanSource]:
    """Keep the named sources (names or globs), in the pack's order.

    Raises:
        DataError: a name is not in the pack.
    """
    known = [source.name for source in sources]
    for pattern in names or ():
        if not any(fnmatchcase(name, pattern) for name in known):
            raise DataError(f"source {pattern!r} is not in the pack; it has {', '.join(known)}.")
    return [s for s in sources if names is None or any(fnmatchcase(s.name, pattern) for pattern in names)]


def _learns(source: PlanSource, settings: PlanSettings) -> bool:
    return source.in_batch or (settings.negatives_of(source.task) > 0 and source.negatives > 0)


def _reason(source: PlanSource) -> str:
    return f"{source.task} learns from hard negatives only, and none are read" if source.rows else "it has no rows"


def _streams(sources: Sequence[PlanSource], settings: PlanSettings) -> tuple[_Stream, ...]:
    size, weights = settings.global_batch, _weights(sources, settings.source_weights)
    streams: list[_Stream] = []
    pools: dict[str, list[_Piece]] = {}
    for number, source in enumerate(sources):
        own = source.rows // size
        if own:
            streams.append(_Stream(source.name, source.task, own, weights[number] * own * size / source.rows, number))
        if source.rows % size:
            pools.setdefault(source.task, []).append(_Piece(number, own * size, source.rows))
    for task, members in sorted(pools.items()):
        rows = sum(piece.stop - piece.start for piece in members)
        weight = sum(weights[p.source] * (p.stop - p.start) / sources[p.source].rows for p in members)
        streams.append(_Stream(f"pool/{task}", task, -(-rows // size), weight, None, tuple(members)))
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


def _period_counts(streams: Sequence[_Stream]) -> Ints:
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


def _cut(pieces: Sequence[_Piece], start: int, stop: int) -> list[_Piece]:
    """Take positions [start, stop) of the pieces laid end to end."""
    taken, offset = [], 0
    for piece in pieces:
        first, last = max(start, offset), min(stop, offset + piece.stop - piece.start)
        if first < last:
            taken.append(_Piece(piece.source, piece.start + first - offset, piece.start + last - offset))
        offset += piece.stop - piece.start
    return taken
