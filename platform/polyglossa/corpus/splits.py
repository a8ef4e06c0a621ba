"""What values of a column of splits mean: folded, known by their common names, and refused where they are not.

Guessing is not an option: a row of an unknown split would be trained on, and evaluation would be on what was learned.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.readers.rows import Bad

SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development", "eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "tst", "testing", "heldout", "holdout"), "heldout"),
}
"""Folded name → split of the artifact."""


def split_of(name: str | None) -> str | None:
    """The split that a name stands for: an absent one for `train`, an unknown one for none (None)."""
    if name is None or not name.strip():
        return "train"
    return SPLITS.get(re.sub(r"[\s_-]", "", name.casefold()))


def parted(table: pa.Table, column: str | None) -> tuple[list[tuple[str | None, pa.Table]], list[Bad]]:
    """Part a table by its splits, and leave out rows of unknown ones.

    Args:
        table: rows.
        column: holds the splits; None: no column does, and the one part has none.
    """
    if column is None:
        return [(None, table)], []
    names = table[column].to_pylist()
    splits = pa.array([split_of(name) for name in names], pa.string())
    bad = [Bad("unknown_split", str(name)) for name in names if split_of(name) is None]
    present = sorted(set(splits.drop_null().to_pylist()))
    return [(split, table.filter(pc.equal(splits, split))) for split in present], bad
