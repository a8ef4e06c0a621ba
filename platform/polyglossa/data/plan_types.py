"""Types of the step plan as plain values: sizes of sources and settings in, steps out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
    scores: bool = False
    """Whether terms read the scores of pairs: sources of scored pairs then learn without negatives too."""
    task_negatives: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Negatives per query of single tasks, where they differ from `negatives`."""
    epochs: float = 1.0
    steps: int | None = None
    """Number of steps; None derives it from `epochs`."""
    source_weights: Mapping[str, float] | None = field(default=None, hash=False)
    """Relative share of steps per source; None is proportional to rows."""
    source_order: str = "even"
    """`even`, or `drawn` source by source."""
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
