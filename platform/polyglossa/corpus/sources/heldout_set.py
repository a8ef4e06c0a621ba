"""Evaluation sets made of what an embedded source holds out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from polyglossa.corpus.instructions import instruction_for
from polyglossa.recipe.sections.corpus import InstructionsConfig
from polyglossa.records import row_id, text_id

QUERY = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("script", pa.string(), nullable=False),
        pa.field("positive_doc_ids", pa.list_(pa.string()), nullable=False),
        pa.field("same_as_english", pa.bool_(), nullable=False),
    ]
)
CORPUS = pa.schema([pa.field("doc_id", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])


@dataclass(frozen=True)
class HeldoutSet:
    """An evaluation set made of what a source holds out. Ids are hex."""

    name: str
    task_type: str
    """`bitext` or `retrieval`."""
    metric: str
    """`accuracy` (hit at rank 1) or `ndcg_at_10`."""
    queries: pa.Table
    corpus: pa.Table

    def task(self, instructions: InstructionsConfig) -> dict[str, str]:
        """What an evaluator must know besides the texts."""
        instruction = instruction_for(instructions, self.task_type, self.name)
        return {"name": self.name, "task_type": self.task_type, "instruction": instruction, "metric": self.metric}


def heldout_set(
    name: str, task_type: str, metric: str, queries: Sequence[dict[str, Any]], corpus: Sequence[str]
) -> HeldoutSet:
    """Make a set of queries with their `positives`, and the texts that are searched."""
    rows = [
        {
            **query,
            "query_id": row_id(name, query["language"], query["query"]).hex(),
            "positive_doc_ids": [text_id(text).hex() for text in query["positives"]],
        }
        for query in queries
    ]
    documents = [{"doc_id": text_id(text).hex(), "text": text} for text in corpus]
    columns = {field.name: [row[field.name] for row in rows] for field in QUERY}
    return HeldoutSet(name, task_type, metric, pa.table(columns, schema=QUERY), pa.Table.from_pylist(documents, CORPUS))
