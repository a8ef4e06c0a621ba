"""The step plan: which examples every step trains on, as a pure function of (index, settings, seed).

Counter-based: `plan.at(step)` needs no iterator state, so a resumed run starts anywhere. The plan knows nothing of
ranks. A source fills whole batches of its own; its tail, and sources smaller than a batch, go to a pool of their task,
where rows of one source stay together so that they are each other's in-batch negatives. A pool's last batch is
completed with rows it does not hold yet. Streams (sources and pools) interleave
smoothly by weight, or in an order that is drawn.
"""

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache, partial

import numpy as np

from polyglossa.data.counter_rng import hash63, permutation
from polyglossa.data.interleave import Piece, Stream, cut, draw_order, schedule, streams_of, turns_by_weight
from polyglossa.data.plan_types import Ints, Part, PlanSettings, PlanSource, SourceCoverage, StepPlan
from polyglossa.errors import DataError


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
        self._streams = streams_of(self.sources, settings)
        by_rows = settings.source_weights is None
        self._counts = np.array([s.batches for s in self._streams]) if by_rows else turns_by_weight(self._streams)
        self.steps_per_epoch = int(self._counts.sum())
        self.total_steps = settings.steps or max(1, round(settings.epochs * self.steps_per_epoch))
        self._order = lru_cache(maxsize=4 * len(usable))(self._order_uncached)
        ordered = partial(schedule, self._streams, self._counts, settings.seed)
        drawn = partial(draw_order, self._streams, self._counts)
        self._schedule = lru_cache(maxsize=2)(drawn if settings.source_order == "drawn" else ordered)

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

    def _pieces(self, stream: Stream, epoch: int, number: int) -> tuple[list[Piece], list[Piece]]:
        """The stream's own positions of a batch, and what completes it."""
        size = self.settings.global_batch
        if stream.source is not None:
            return [Piece(stream.source, number * size, (number + 1) * size)], []
        names = [self.sources[piece.source].name for piece in stream.members]
        keys = [hash63(self.settings.seed, "pool", name, epoch) for name in names]
        queue = [stream.members[i] for i in np.argsort(keys, kind="stable")]
        pieces = cut(queue, number * size, (number + 1) * size)
        missing = size - sum(piece.stop - piece.start for piece in pieces)
        return pieces, self._completion(stream, queue, missing)

    def _completion(self, stream: Stream, queue: list[Piece], missing: int) -> list[Piece]:
        """Rows that fill a pool's last batch: the pool's first, or a large source's where the pool is too small."""
        size = self.settings.global_batch
        if missing <= 0:
            return []
        if sum(piece.stop - piece.start for piece in queue) >= size:
            return cut(queue, 0, missing)
        large = [i for i, s in enumerate(self.sources) if s.task == stream.task and s.rows >= size]
        return [Piece(max(large, key=lambda i: self.sources[i].rows), 0, missing)] if large else []

    def _parts(self, piece: Piece, epoch: int) -> list[Part]:
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


_SCORED_TASK = "sts"


def _learns(source: PlanSource, settings: PlanSettings) -> bool:
    if settings.scores and source.task == _SCORED_TASK:
        return True
    return source.in_batch or (settings.negatives_of(source.task) > 0 and source.negatives > 0)


def _reason(source: PlanSource) -> str:
    return f"{source.task} learns from hard negatives only, and none are read" if source.rows else "it has no rows"
