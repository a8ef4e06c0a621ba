"""What a worker of the mining stage is told of a unit, and what it answers. Neither torch nor Ray."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polyglossa.mine.near import Sketches
from polyglossa.mine.pools import Ragged

Ints = npt.NDArray[np.int64]

FOUND = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("negatives", pa.list_(pa.int64())),
        pa.field("negative_scores", pa.list_(pa.float32())),
        pa.field("filled", pa.int32()),
        pa.field("positive_score", pa.float32()),
        pa.field("reason", pa.string()),
        pa.field("refused", pa.list_(pa.int32())),
        pa.field("pool", pa.string()),
        pa.field("recall_found", pa.int32()),
        pa.field("recall_wanted", pa.int32()),
        pa.field("blind", pa.int32()),
        pa.field("blind_same_group", pa.int32()),
    ]
)
"""What `unit.mine_unit` returns."""


@dataclass(frozen=True)
class Pool:
    """The candidates of one or more units."""

    name: str
    """What the audit calls the pool."""
    document: Ints
    """[N] document numbers, ascending."""
    text_ids: pa.Array
    """[N] ids of the rendered documents."""
    sketches: Sketches | None
    """[N, 128] character sketches; None where near copies are kept."""


@dataclass(frozen=True)
class UnitWork:
    """The rows of a unit."""

    row: Ints
    """[Q] row numbers."""
    text_ids: pa.Array
    """[Q] ids of the rendered queries."""
    key: npt.NDArray[np.uint64]
    """[Q] a number per row that stays the same from run to run."""
    positives: Ragged
    """Query → positions in `positive_ids`."""
    positive_ids: pa.Array
    """Ids of the rendered positives."""
    positive_sketches: Sketches | None
    excluded: Ints
    """Sorted codes query · N + candidate of what is no negative for what it is."""
    excluded_rule: npt.NDArray[np.int8]
    """Why (`choose.IDENTITY`), code by code."""
