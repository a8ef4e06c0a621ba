"""Held-out retrieval as one figure, without mteb or Ray: for trials that only rank, and for models of one space.

The figures are those that mteb computes (hit rate at 1, nDCG at 10); intervals, languages and widths are the evaluate
stage's work.

Legend: Q = queries, P = documents, D = width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from polyglossa.artifact import Artifact
from polyglossa.evaluate.heldout import HeldoutSet, read_heldout
from polyglossa.folders import local_folder
from polyglossa.model.encoder import Encoder, finish, render

_DEPTH = 10
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
    relevant = [[place[one] for one in ids] for ids in heldout.queries["positive_doc_ids"].take(chosen).to_pylist()]
    measure = _hit_rate if heldout.metric == "accuracy" else _ndcg
    return measure(query_QD, document_PD, relevant)


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
    return finish(encoder.states(encoder.tokenize(texts)), width)


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
