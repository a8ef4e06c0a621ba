"""Approximate search is a choice: it finds what it probes, scores exactly, and says what share it found."""

import numpy as np
import pytest

from polyglossa.mine.approximate import recall, search_ivf
from polyglossa.mine.documents import InMemory
from polyglossa.mine.search import search

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def clustered() -> tuple[np.ndarray, InMemory]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 32))
    vectors = centres[rng.integers(0, 40, 4000)] + 0.3 * rng.standard_normal((4000, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return vectors[:100], InMemory(vectors)


def test_probing_every_cell_is_exact(clustered):
    query, documents = clustered
    found = search_ivf(query, documents, 20, lists=16, probes=16)
    np.testing.assert_array_equal(found.document_QK, search(query, documents, 20).document_QK)
    assert recall(found, query, documents, 50) == (1000, 1000)


def test_recall_of_few_probes_is_measured(clustered):
    query, documents = clustered
    found = search_ivf(query, documents, 20, lists=64, probes=1)
    hits, wanted = recall(found, query, documents, 100)
    exact = search(query, documents, 20).document_QK
    assert hits == sum(len(set(left) & set(right)) for left, right in zip(exact, found.document_QK, strict=True))
    assert 0.2 < hits / wanted < 1
    assert np.isneginf(found.score_QK[found.document_QK < 0]).all()


def test_more_cells_than_documents_can_train_are_cut(clustered):
    query, documents = clustered
    found = search_ivf(query, InMemory(documents.vectors[:50]), 5, lists=1024, probes=8)
    np.testing.assert_array_equal(found.document_QK, search(query, InMemory(documents.vectors[:50]), 5).document_QK)
