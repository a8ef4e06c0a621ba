"""First pass over candidates: normalise, filter, annotate what may go on.

Pure: a `Reading` in, rows and rejects out. What may not go on is said by the rules of `rules.py`, in their order.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from polyglossa.corpus.clean.annotate import annotate
from polyglossa.corpus.clean.rules import RULES, Candidates, flat_lists
from polyglossa.corpus.clean.text import normalise_column
from polyglossa.corpus.clean.written_instructions import lift_instructions
from polyglossa.corpus.rejects import Reasons, reject_rows, reject_table, unreadable
from polyglossa.corpus.sources.source import Reading
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.recipe.sections.sources import Source


@dataclass(frozen=True)
class Ingested:
    """What a reading became."""

    rows: pa.Table
    rejects: pa.Table
    checked: Counter[str]
    """Languages: given ones that were checked (`agree`, `disagree`), others that were `identified` (`doubtful`)."""
    written: Counter[str]
    """Instructions that the rows held already (`written_instructions`)."""


def ingest(reading: Reading, source_name: str, entry: Source, config: CorpusConfig) -> Ingested:
    """Take a reading through the first pass.

    Args:
        reading: candidates and rows that could not be read.
        source_name: source that unreadable rows are counted for.
        entry: the recipe's entry of the source.
        config: limits and languages.
    """
    lifted, written = lift_instructions(reading.candidates)
    table = normalise(lifted, keeps_code=entry.code)
    reasons = find_reject_reasons(table, config)
    kept = pa.array([reason is None for reason in reasons], pa.bool_())
    rows, checked = annotate(table.filter(kept), entry, config)
    rejects = [*(unreadable(source_name, *bad) for bad in reading.bad), *reject_rows(table, reasons)]
    return Ingested(rows, reject_table(rejects), checked, written)


def normalise(table: pa.Table, *, keeps_code: bool) -> pa.Table:
    """Normalise queries, positives and negatives; code keeps its characters."""
    table = _with(table, "query", normalise_column(table["query"]))
    for name in () if keeps_code else ("positives", "negatives"):
        if table[name].null_count < table.num_rows:
            table = _with(table, name, _map_texts(table[name]))
    return table


def _map_texts(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    flat, offsets, nulls = flat_lists(lists)
    texts = normalise_column(pa.chunked_array([flat])).combine_chunks()
    return pa.chunked_array([pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), texts, mask=pa.array(nulls))])


def find_reject_reasons(table: pa.Table, config: CorpusConfig) -> Reasons:
    """Return why each row cannot go on, or None: the first rule that it breaks."""
    reasons: Reasons = np.full(table.num_rows, None, dtype=object)
    candidates = Candidates(table, config)
    for reason, rule in RULES:
        rows = rule(candidates)
        reasons[[row for row in rows if reasons[row] is None]] = reason
    return reasons


def _with(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
