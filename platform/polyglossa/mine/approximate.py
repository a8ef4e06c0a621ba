"""Approximate top-k through a faiss inverted file, by explicit choice; its recall is measured, not assumed.

The index clusters the documents into cells (k-means, fixed seed) and looks into the nearest ones only. What it finds is
scored in float32, so scores are as exact as `search`'s; what it misses is missing.
"""

import numpy as np

from polyglossa.errors import DataError
from polyglossa.mine.documents import READ_DOCUMENTS, Documents, Floats
from polyglossa.mine.search import Ranked, search

_TRAINING_PER_LIST = 64


def search_ivf(query_QD: Floats, documents: Documents, k: int, *, lists: int, probes: int) -> Ranked:
    """Find about the k best documents of every query.

    Args:
        query_QD: query vectors, unit length.
        documents: candidates, unit length.
        k: documents kept per query.
        lists: cells; fewer where there are not enough documents to train that many.
        probes: cells looked into per query.

    Raises:
        DataError: faiss is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise DataError("mine.approximate: faiss is not installed. Install faiss-cpu, or search exactly.") from None
    width = query_QD.shape[1]
    lists = max(1, min(lists, len(documents) // 39))  # faiss asks for 39 training points per cell
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 0
    index.train(_sample(documents, lists * _TRAINING_PER_LIST))
    for start in range(0, len(documents), READ_DOCUMENTS):
        index.add(np.ascontiguousarray(documents.block(start, min(start + READ_DOCUMENTS, len(documents)))))
    index.nprobe = min(probes, lists)
    score_QK, document_QK = index.search(query_QD, k)
    order = np.lexsort((document_QK, -score_QK), axis=1)  # ties by number, as in exact search
    document_QK, score_QK = np.take_along_axis(document_QK, order, 1), np.take_along_axis(score_QK, order, 1)
    return Ranked(document_QK, np.where(document_QK < 0, -np.inf, score_QK).astype(np.float32))


def recall(found: Ranked, query_QD: Floats, documents: Documents, rows: int) -> tuple[int, int]:
    """Compare an approximate answer with exact search on evenly spaced queries.

    Returns:
        (found, wanted): how many of the exact top-k of `rows` queries were found. Recall is their quotient.
    """
    chosen = np.unique(np.linspace(0, len(query_QD) - 1, min(rows, len(query_QD))).astype(np.int64))
    exact = search(query_QD[chosen], documents, found.document_QK.shape[1]).document_QK
    hits = sum(
        len(np.intersect1d(left[left >= 0], right))
        for left, right in zip(exact, found.document_QK[chosen], strict=True)
    )
    return hits, int((exact >= 0).sum())


def _sample(documents: Documents, most: int) -> Floats:
    rows = np.unique(np.linspace(0, len(documents) - 1, min(most, len(documents))).astype(np.int64))
    return documents.take(rows)
