"""Sources in the published F2LLM-v2 layout: `query`, `passage`, `negative_1` … `negative_24`."""

from collections.abc import Iterator

import pyarrow as pa

from polyglossa.corpus.sources.candidates import candidate_table
from polyglossa.corpus.sources.pairs import join_lists
from polyglossa.corpus.sources.source import Reading, Shard
from polyglossa.corpus.sources.table_files import TableFiles, notices_of
from polyglossa.readers.tables import Batch, Columns
from polyglossa.recipe.sections.sources import F2llmSource

NEGATIVES = tuple(f"negative_{number}" for number in range(1, 25))
COLUMNS = Columns({"query": "text", "passage": "texts"}, dict.fromkeys(NEGATIVES, "texts"))


class F2llm(TableFiles[F2llmSource]):
    """Rows with up to 24 negatives; those with the first alone are two-way classification."""

    def read(self, shard: Shard) -> Iterator[Reading]:
        """Read a batch at a time."""
        for batch in self.batches(shard, COLUMNS):
            first, *others = (batch.table[name] for name in NEGATIVES)
            two_way = first.null_count < len(first) and all(column.null_count == len(column) for column in others)
            yield Reading(f2llm_candidates(batch, self.entry, two_way), batch.bad, notices_of(batch))


def f2llm_candidates(batch: Batch, source: F2llmSource, two_way: bool) -> pa.Table:
    """Candidates of the published layout; empty negatives are absent."""
    table = batch.table
    return candidate_table(
        {
            "query": table["query"],
            "positives": table["passage"],
            "negatives": join_lists([table[name] for name in NEGATIVES]),
        },
        task="classification" if two_way else source.task,
        source=source.name,
    )


SOURCE = F2llm
