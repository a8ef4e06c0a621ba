"""Cut a mining run into tasks of units, with everything that a worker needs of one but its vectors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from polyglossa.mine.near import sketch
from polyglossa.mine.pools import Ragged, Rows, Unit, exclusions
from polyglossa.mine.texts import Texts
from polyglossa.mine.work import Pool, UnitWork
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.vectors import as_keys

Ints = npt.NDArray[np.int64]

_ROWS_PER_TASK = 4096


@dataclass(frozen=True)
class Prepared:
    """The run's tables, from which the work of a unit is cut."""

    rows: Rows
    documents: pa.Table
    texts: Texts
    spoilt: npt.NDArray[np.object_]
    reasons: Mapping[int, str]
    config: MineConfig

    def cut(self, batches: Iterable[Sequence[Unit]]) -> Iterator[tuple[list[UnitWork], list[Pool]]]:
        """Yield all that a worker must know of each task, vectors apart; a pool that goes on is the same object."""
        held: dict[str, Pool] = {}
        for batch in batches:
            held = {unit.pool: held.get(unit.pool) or self._pool(unit) for unit in batch}
            pools = [held[unit.pool] for unit in batch]
            yield [self._work(unit, pool) for unit, pool in zip(batch, pools, strict=True)], pools

    def _pool(self, unit: Unit) -> Pool:
        number = unit.candidates[self.spoilt[unit.candidates] == np.array(None)]
        sketches = None if self.config.near_copy is None else self._sketches(number)
        return Pool(unit.pool, number, self.texts.document_ids.take(pa.array(number)), sketches)

    def _work(self, unit: Unit, pool: Pool) -> UnitWork:
        row = np.array([row for row in unit.row.tolist() if row not in self.reasons], np.int64)
        place = np.searchsorted(self.texts.mined, row)
        query, document = self.rows.positives.take(row)
        used, slot = np.unique(document, return_inverse=True)
        usable = Unit(unit.source, unit.pool, row, pool.document)
        excluded, rule = exclusions(self.rows, usable, self.texts.query_document[place])
        return UnitWork(
            row=row,
            text_ids=self.texts.query_ids.take(pa.array(place)),
            key=as_keys(self.rows.table.column("pair_id").take(pa.array(row)))[:, 1],
            positives=Ragged(np.searchsorted(query, np.arange(len(row) + 1)), slot),
            positive_ids=self.texts.document_ids.take(pa.array(used)),
            positive_sketches=None if self.config.near_copy is None else self._sketches(used),
            excluded=excluded,
            excluded_rule=rule,
        )

    def _sketches(self, number: Ints) -> npt.NDArray[np.uint16]:
        return sketch(self.documents.column("text").take(pa.array(number)))


def batch_units(plan: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Put small units together: a task is worth starting a worker for."""
    batch: list[Unit] = []
    for unit in plan:
        batch.append(unit)
        if sum(len(unit.row) for unit in batch) >= _ROWS_PER_TASK:
            yield batch
            batch = []
    if batch:
        yield batch
