"""Which pairs are scored: every mined row's positives and candidates, each with its query. Pure.

This is all of re-scoring that knows where a mining run keeps its texts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.mine.pools import Rows
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import row_id

Ints = npt.NDArray[np.int64]


def searched(config: MineConfig) -> MineConfig:
    """Return what the search is told: to choose some candidates more, and to leave short rows to the decision."""
    if config.rescore is None:
        return config
    wide = min(config.negatives + config.rescore.spare, config.top_k - config.skip)
    return config.changed(negatives=wide, short="fill" if config.short == "fill" else "keep")


@dataclass(frozen=True)
class Pairs:
    """The pairs of some rows, row after row: a row's positives in their order, then its candidates in theirs."""

    table: pa.Table
    """`key`, `query` and `document` of every pair."""
    offsets: Ints
    """[R + 1]: pairs of row r are those from offsets[r] to offsets[r + 1]."""
    positives_R: Ints
    """How many of a row's pairs are its positives."""

    def __len__(self) -> int:
        return len(self.table)


def list_pairs(found: pa.Table, rows: Rows, documents: pa.Table) -> Pairs:
    """List the pairs of rows that negatives were searched for.

    Args:
        found: what the units returned (`unit.FOUND`); a row that is rejected already has no pairs.
        rows: all rows of the corpus.
        documents: sorted by id.
    """
    row = found.column("row").to_numpy()
    stays = found.column("reason").combine_chunks().is_null().to_numpy(zero_copy_only=False)
    place, positive = rows.positives.take(np.where(stays, row, -1))
    candidates = found.column("negatives").combine_chunks()
    count = np.where(stays, pc.list_value_length(candidates).to_numpy(), 0)
    listed = np.repeat(np.arange(len(found)), pc.list_value_length(candidates).to_numpy())
    number = candidates.flatten().to_numpy()[stays[listed]]
    owner = np.concatenate([place, listed[stays[listed]]])
    order = np.argsort(owner, kind="stable")  # positives stand before candidates, and stay there
    document = np.concatenate([positive, number])[order]
    positives_R = np.bincount(place, minlength=len(found))
    query = rows.table.column("query").take(pa.array(row[owner[order]])).combine_chunks()
    text = documents.column("text").take(pa.array(document)).combine_chunks()
    keys = [row_id(*texts) for texts in zip(query.to_pylist(), text.to_pylist(), strict=True)]
    table = pa.table({"key": pa.array(keys, pa.binary(16)), "query": query, "document": text})
    return Pairs(table, np.append(0, np.cumsum(positives_R + count)), positives_R)
