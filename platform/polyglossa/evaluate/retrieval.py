"""Held-out retrieval as one figure, without mteb or Ray: for trials that only rank, and for models of one space.

The figures are those that mteb computes (hit rate at 1, nDCG at 10); intervals, languages and widths are the evaluate
stage's work.

Legend: Q = queries, P = documents, D = width.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from polyglossa.artifact import Artifact
from polyglossa.evaluate.heldout import HeldoutSet, read_heldout
from polyglossa.evaluate.instructions import BY_TYPE
from polyglossa.evaluate.local_files import files_of, read_documents, read_queries, read_relevance, survey_local
from polyglossa.evaluate.prefix import embed_texts
from polyglossa.evaluate.tables import subset_names
from polyglossa.folders import local_folder
from polyglossa.model.encoder import Encoder, finish, render
from polyglossa.recipe.evaluate import RetrievalTask

_DEPTH = 10
_NOWHERE = -1  # of a judged document that the corpus does not hold: never found, as mteb counts it
_BLOCK = 2048  # queries scored at a time


def heldout_score(
    heldout: HeldoutSet,
    queries: Encoder,
    documents: Encoder | None = None,
    *,
    instructed: bool,
    width: int | None = None,
    limit: int | None = None,
) -> float:
    """Score a held-out set.

    Args:
        heldout: queries, corpus and metric.
        queries: embeds the queries.
        documents: embeds the corpus; None: the same model. Another one must share the first coordinates' space.
        instructed: whether queries are rendered behind the set's instruction.
        width: coordinates that are compared; None takes the narrower model's width.
        limit: most queries, evenly spread over the set; None means all.
    """
    documents = documents or queries
    width = width or min(queries.width, documents.width)
    chosen = _spread(len(heldout.queries), limit)
    texts = heldout.queries["query"].take(chosen).to_pylist()
    instruction = heldout.instruction if instructed else None
    query_QD = _vectors(queries, [render(text, instruction) for text in texts], width)
    document_PD = _vectors(documents, [text.strip() for text in heldout.corpus["text"].to_pylist()], width)
    place = {document: row for row, document in enumerate(heldout.corpus["doc_id"].to_pylist())}
    relevant = [
        [place.get(one, _NOWHERE) for one in ids]
        for ids in heldout.queries["positive_doc_ids"].take(chosen).to_pylist()
    ]
    measure = _hit_rate if heldout.metric == "accuracy" else _ndcg
    return measure(query_QD, document_PD, relevant)


def read_search(task: RetrievalTask) -> list[HeldoutSet]:
    """Read a retrieval task from files as held-out sets, one for each subset of its corpus."""
    files = files_of(task)
    survey_local(task)  # refuses what its account refuses
    queries = _renamed(read_queries(task, files[0]).table, {"id": "query_id", "text": "query"})
    corpus = _renamed(read_documents(task, files[1]).table, {"id": "doc_id"})
    held = subset_names(corpus, task.subset_columns)
    shared = not any(column in corpus.column_names for column in task.subset_columns)
    judged = {
        query: [document for document, score in documents.items() if score > 0]
        for query, documents in read_relevance(files[2])[0].items()
    }
    relevant = {query: documents for query, documents in judged.items() if documents}
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


def _renamed(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Give columns the names of held-out sets."""
    return table.rename_columns([names.get(column, column) for column in table.column_names])


def shared_index_scores(
    corpus: Artifact, names: Sequence[str], model_uri: str, teacher_uri: str, *, instructed: bool
) -> dict[str, dict[str, float]]:
    """Score two models of one space alone and together.

    Args:
        corpus: holds the held-out sets.
        names: the sets.
        model_uri: model directory that embeds queries (and documents where it works alone).
        teacher_uri: model directory whose document vectors are searched.
        instructed: whether queries are rendered behind the sets' instructions.

    Returns:
        Per set: `alone`, `teacher_documents` (queries of the model, documents of the teacher) and `teacher_alone`, at
        the narrower model's width.
    """
    with local_folder(model_uri) as own, local_folder(teacher_uri) as theirs:
        model, teacher = Encoder.load(own), Encoder.load(theirs)
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


def _vectors(encoder: Encoder, texts: Sequence[str], width: int) -> Tensor:
    return finish(embed_texts(encoder, texts), width)


def _spread(count: int, limit: int | None) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, limit or count)).round().astype(np.int64)


def _hit_rate(query_QD: Tensor, document_PD: Tensor, relevant: Sequence[Sequence[int]]) -> float:
    return float(np.mean([top[0] in own for top, own in zip(_top(query_QD, document_PD, 1), relevant, strict=True)]))


def _ndcg(query_QD: Tensor, document_PD: Tensor, relevant: Sequence[Sequence[int]]) -> float:
    gain_K = 1 / np.log2(np.arange(2, _DEPTH + 2))
    found = [
        gain_K[: len(top)][np.isin(top, own)].sum() / gain_K[: len(own)].sum()
        for top, own in zip(_top(query_QD, document_PD, _DEPTH), relevant, strict=True)
    ]
    return float(np.mean(found))


def _top(query_QD: Tensor, document_PD: Tensor, depth: int) -> list[list[int]]:
    depth = min(depth, len(document_PD))
    blocks = [(block @ document_PD.T).topk(depth, dim=1).indices for block in query_QD.split(_BLOCK)]
    return [row for block in torch.cat(blocks).split(_BLOCK) for row in block.tolist()]
