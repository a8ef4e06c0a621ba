"""Collect and render the texts of a mining run, and find rows whose texts cannot be used. Pure.

A text is embedded as it is rendered: with its instruction or prompt in front. That rendered text is what the vector
store knows it by, so a query and a document of the same words share a vector exactly when they are rendered alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.embedding.rendering import blank, render_documents, render_queries
from polyglossa.embedding.text_chunks import distinct, ids_of
from polyglossa.mine.pools import Rows, Unit
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import text_id
from polyglossa.vectors import VectorStore

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Texts:
    """Every text of a run, by where it is used."""

    documents: pa.Array
    """Document number → rendered text."""
    document_ids: pa.Array
    queries: pa.Array
    """Position among the mined rows → rendered text."""
    query_ids: pa.Array
    query_document: Ints
    """Position among the mined rows → number of the document with the query's words, −1 where there is none."""
    mined: Ints
    """[mined rows] row numbers, ascending."""
    used: Ints
    """Numbers of the documents that are a candidate or a positive of a mined row, ascending."""

    def wanted(self) -> pa.Table:
        """Every distinct rendered text that must be embedded, with its id; empty texts are left out."""
        texts = pa.concat_arrays([self.queries, self.documents.take(pa.array(self.used))])
        return distinct(texts.filter(pa.array(~blank(texts))))


def collect(
    rows: Rows,
    mined: Mapping[str, Ints],
    units: Sequence[Unit],
    documents: pa.Table,
    config: MineConfig,
    prompts: Mapping[str, str],
) -> Texts:
    """Render the texts of a run.

    Args:
        rows: all rows.
        mined: source → rows that are mined.
        units: how they are searched.
        documents: sorted by id.
        config: settings of the recipe.
        prompts: the model's own prompts by name.
    """
    row = np.sort(np.concatenate([np.empty(0, np.int64), *mined.values()]))
    table = rows.table.select(["query", "instruction"]).take(row)
    query_document = _same_words(table.column("query"), documents)
    positives = rows.positives.take(row)[1]
    queries = render_queries(table.column("query"), table.column("instruction"), config, prompts)
    rendered = render_documents(documents.column("text"), config, prompts)
    return Texts(
        documents=rendered,
        document_ids=ids_of(rendered),
        queries=queries,
        query_ids=ids_of(queries),
        query_document=query_document,
        mined=row,
        used=np.unique(np.concatenate([positives, *(unit.candidates for unit in units)])),
    )


def unusable_documents(texts: Texts, store: VectorStore) -> npt.NDArray[np.object_]:
    """Document number → why it is no candidate (`empty_document`, `document_vector_not_finite`), None where it may be.

    Only the documents that the run uses are judged.
    """
    reason = np.full(len(texts.documents), None, dtype=object)
    used = texts.documents.take(pa.array(texts.used))
    held = store.holds(texts.document_ids.take(pa.array(texts.used)))
    reason[texts.used[~held]] = "document_vector_not_finite"
    reason[texts.used[blank(used)]] = "empty_document"
    return reason


def unusable_rows(
    texts: Texts, rows: Rows, documents: npt.NDArray[np.object_], store: VectorStore
) -> npt.NDArray[np.object_]:
    """Position among the mined rows → why the row cannot be mined, None where it can.

    Args:
        texts: the run's texts.
        rows: all rows.
        documents: what `unusable_documents` returned.
        store: holds every text that could be embedded.
    """
    reason = np.full(len(texts.mined), None, dtype=object)
    position, document = rows.positives.take(texts.mined)
    for spoilt, name in (
        ("document_vector_not_finite", "positive_vector_not_finite"),
        ("empty_document", "empty_positive"),
    ):
        reason[position[documents[document] == spoilt]] = name
    reason[np.diff(rows.positives.offsets)[texts.mined] == 0] = "no_positive"
    reason[~store.holds(texts.query_ids)] = "query_vector_not_finite"
    reason[blank(texts.queries)] = "empty_query"
    return reason


def _same_words(queries: pa.ChunkedArray, documents: pa.Table) -> Ints:
    ids = pa.array([text_id(text) for text in queries.to_pylist()], pa.binary(16))
    number = pc.index_in(ids, value_set=documents.column("doc_id").combine_chunks())
    return pc.fill_null(number, -1).to_numpy(zero_copy_only=False).astype(np.int64)
