"""Held-out retrieval without mteb or Ray: for trials that only rank, and for models of one space.

The figures are those that mteb computes (hit rate at 1, nDCG at 10); intervals, languages and widths are the evaluate
stage's work.

Legend: Q = queries, P = documents, D = width.
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from polyglossa.artifact import Artifact
from polyglossa.evaluate.tasks.file_lists import files_of, read_documents, read_queries, read_relevance, survey_local
from polyglossa.evaluate.tasks.heldout import HeldoutSet, read_heldout
from polyglossa.evaluate.tasks.prompts import BY_TYPE
from polyglossa.evaluate.tasks.tables import subset_names
from polyglossa.model.encoder import Encoder, finish
from polyglossa.model.instructions import render
from polyglossa.objectives.ranking import MEASURES
from polyglossa.recipe.sections.evaluate import RetrievalTask
from polyglossa.storage import local_folder

_NOWHERE = -2  # of a judged document that the corpus does not hold: never found, as mteb counts it


def heldout_score(
    heldout: HeldoutSet,
    queries: Encoder,
    documents: Encoder | None = None,
    *,
    instructed: bool,
    width: int | None = None,
) -> float:
    """Score a held-out set: the mean of `query_scores`, whose arguments it takes."""
    return float(query_scores(heldout, queries, documents, instructed=instructed, width=width).mean())


def query_scores(
    heldout: HeldoutSet,
    queries: Encoder,
    documents: Encoder | None = None,
    *,
    instructed: bool,
    width: int | None = None,
) -> Tensor:
    """Score every query of a held-out set, in their order.

    Args:
        heldout: queries, corpus and metric.
        queries: embeds the queries.
        documents: embeds the corpus; None: the same model. Another one must share the first coordinates' space.
        instructed: whether queries are rendered behind the set's instruction.
        width: coordinates that are compared; None takes the narrower model's width.

    Returns:
        score_Q: by the set's metric, float64.
    """
    documents = documents or queries
    width = width or min(queries.width, documents.width)
    instruction = heldout.instruction if instructed else None
    texts = [render(text, instruction) for text in heldout.queries["query"].to_pylist()]
    query_QD = finish(queries.embed(texts), width)
    document_PD = finish(documents.embed([text.strip() for text in heldout.corpus["text"].to_pylist()]), width)
    place = {document: row for row, document in enumerate(heldout.corpus["doc_id"].to_pylist())}
    relevant = [[place.get(one, _NOWHERE) for one in ids] for ids in heldout.queries["positive_doc_ids"].to_pylist()]
    return MEASURES[heldout.metric](query_QD, document_PD, relevant)


def read_search(task: RetrievalTask) -> list[HeldoutSet]:
    """Read a retrieval task from files as held-out sets, one for each subset of its corpus."""
    files = files_of(task)
    survey_local(task)  # refuses what its account refuses
    queries = _rename_columns(read_queries(task, files[0]).table, {"id": "query_id", "text": "query"})
    corpus = _rename_columns(read_documents(task, files[1]).table, {"id": "doc_id"})
    held = subset_names(corpus, task.subset_columns)
    shared = not any(column in corpus.column_names for column in task.subset_columns)
    evaluated = {
        query: [document for document, score in documents.items() if score > 0]
        for query, documents in read_relevance(files[2])[0].items()
    }
    relevant = {query: documents for query, documents in evaluated.items() if documents}
    queries = queries.filter(pc.is_in(queries["query_id"], pa.array(list(relevant), pa.string())))
    own = [relevant[query] for query in queries["query_id"].to_pylist()]
    asked_all = queries.append_column("positive_doc_ids", pa.array(own, pa.list_(pa.string())))
    asked = subset_names(asked_all, () if shared else task.subset_columns)
    instruction = task.instruction or BY_TYPE["query"]
    return [
        HeldoutSet(
            name=f"{task.name}/{name}",
            task_type="retrieval",
            instruction=instruction,
            metric="ndcg_at_10",
            revision="",
            queries=asked_all.filter(pc.equal(asked, name)),
            corpus=corpus.filter(pc.equal(held, name)),
        )
        for name in sorted(pc.unique(held).to_pylist())
        if pc.any(pc.equal(asked, name)).as_py()
    ]


def _rename_columns(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Give columns the names of held-out sets."""
    return table.rename_columns([names.get(column, column) for column in table.column_names])


def shared_index_scores(
    corpus: Artifact,
    names: Sequence[str],
    model_uri: str,
    teacher_uri: str,
    *,
    instructed: bool,
    dtype: str,
    device: str = "cpu",
) -> dict[str, dict[str, float]]:
    """Score two models of one space alone and together.

    Args:
        corpus: holds the held-out sets.
        names: the sets.
        model_uri: model directory that embeds queries (and documents where it works alone).
        teacher_uri: model directory whose document vectors are searched.
        instructed: whether queries are rendered behind the sets' instructions.
        dtype: compute precision.
        device: torch device of both models.

    Returns:
        Per set: `alone`, `teacher_documents` (queries of the model, documents of the teacher) and `teacher_alone`, at
        the narrower model's width.
    """
    with local_folder(model_uri) as own, local_folder(teacher_uri) as theirs:
        model, teacher = (Encoder.load(path, dtype=dtype, device=device) for path in (own, theirs))
    width = min(model.width, teacher.width)
    pairs = {"alone": (model, model), "teacher_documents": (model, teacher), "teacher_alone": (teacher, teacher)}
    return {
        name: {
            label: round(heldout_score(heldout, queries, documents, instructed=instructed, width=width), 5)
            for label, (queries, documents) in pairs.items()
        }
        for name in names
        for heldout in [read_heldout(corpus, name)]
    }
