"""Read embedded sources: candidates for the corpus, and held-out sets to evaluate on.

One pure function per kind of source, the same for a Ray task and for a test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from polyglossa.corpus.instructions import instruction_for
from polyglossa.corpus.sources import cldr, pydoc
from polyglossa.recipe.sections.corpus import CldrSource, CorpusConfig, InstructionsConfig, PydocSource
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


@dataclass(frozen=True)
class Embedded:
    """What one recipe entry gave."""

    candidates: tuple[pa.Table, ...]
    heldout: tuple[HeldoutSet, ...]


def read_embedded(source: CldrSource | PydocSource, config: CorpusConfig) -> Embedded:
    """Read one embedded source."""
    return _read_cldr(source, config) if isinstance(source, CldrSource) else _read_pydoc(source, config)


def _read_cldr(source: CldrSource, config: CorpusConfig) -> Embedded:
    names = cldr.read_names()
    heldout = cldr.heldout_concepts(names, config.heldout_share, config.seed)
    candidates = [
        cldr.translation_candidates(
            names, heldout, pairs_per_name=source.pairs_per_name, seed=config.seed, source=source.name
        )
    ]
    if source.classification:
        candidates.append(cldr.kind_candidates(names, heldout, source=f"{source.name}_kind"))
    queries, corpus = cldr.heldout_search(names, heldout)
    return Embedded(tuple(candidates), (_heldout_set(source.name, "bitext", "accuracy", queries, corpus),))


def _read_pydoc(source: PydocSource, config: CorpusConfig) -> Embedded:
    functions = pydoc.read_functions()
    heldout = pydoc.heldout_modules(functions, config.heldout_share, config.seed)
    limit = source.max_characters
    candidates = pydoc.search_candidates(functions, heldout, max_characters=limit, source=source.name)
    queries, corpus = pydoc.heldout_search(functions, heldout, limit)
    return Embedded((candidates,), (_heldout_set(source.name, "retrieval", "ndcg_at_10", queries, corpus),))


def _heldout_set(
    name: str, task_type: str, metric: str, queries: Sequence[dict[str, Any]], corpus: Sequence[str]
) -> HeldoutSet:
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
