"""Search is exact: its ranks are those of brute force in float64, ties by number, whatever the block sizes."""

import numpy as np
import pytest

from polyglossa.mine import search as search_module
from polyglossa.mine.documents import InMemory
from polyglossa.mine.search import search


def unit_vectors(count: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(query: np.ndarray, documents: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = query.astype(np.float64) @ documents.astype(np.float64).T
    order = np.lexsort((np.broadcast_to(np.arange(len(documents)), scores.shape), -scores))[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@pytest.mark.parametrize(
    ("queries", "documents", "width", "k"),
    [(1, 1, 4, 1), (3, 5, 8, 2), (512, 4096, 16, 20), (513, 4097, 16, 10), (60, 9000, 64, 300), (70, 8192, 8, 100)],
)
def test_ranks_equal_float64_brute_force(queries, documents, width, k):
    query, document = unit_vectors(queries, width, 0), unit_vectors(documents, width, 1)
    found = search(query, InMemory(document), k)
    expected, scores = brute_force(query, document, k)
    np.testing.assert_array_equal(found.document_QK, expected)
    np.testing.assert_allclose(found.score_QK, scores, atol=1e-6)


def test_equal_scores_rank_by_number():
    rng = np.random.default_rng(2)
    query = rng.integers(-2, 3, (100, 6)).astype(np.float32)
    document = rng.integers(-2, 3, (6000, 6)).astype(np.float32)
    found = search(query, InMemory(document), 40)
    expected, scores = brute_force(query, document, 40)
    np.testing.assert_array_equal(found.document_QK, expected)
    np.testing.assert_array_equal(found.score_QK, scores)


def test_scores_closer_than_float32_can_tell_rank_as_in_float64():
    query, base = unit_vectors(40, 64, 3), unit_vectors(1, 64, 4)
    document = base + np.random.default_rng(5).standard_normal((3000, 64)).astype(np.float32) * 1e-7
    found = search(query, InMemory(document), 50)
    np.testing.assert_array_equal(found.document_QK, brute_force(query, document, 50)[0])


def test_documents_that_are_all_the_same_rank_by_number():
    document = np.repeat(unit_vectors(1, 16, 6), 5000, axis=0)
    found = search(unit_vectors(10, 16, 7), InMemory(document), 12)
    np.testing.assert_array_equal(found.document_QK, np.tile(np.arange(12), (10, 1)))


def test_fewer_documents_than_k_leaves_places_empty():
    found = search(unit_vectors(3, 8, 0), InMemory(unit_vectors(5, 8, 1)), 9)
    assert (found.document_QK[:, 5:] == -1).all()
    assert np.isneginf(found.score_QK[:, 5:]).all()
    assert (found.document_QK[:, :5] >= 0).all()


def test_no_query_gives_an_empty_answer():
    assert search(np.empty((0, 8), np.float32), InMemory(unit_vectors(5, 8, 1)), 3).document_QK.shape == (0, 3)


def test_blocks_of_any_size_give_the_same_bytes(monkeypatch):
    query, document = unit_vectors(300, 32, 8), unit_vectors(5000, 32, 9)
    expected = search(query, InMemory(document), 25)
    for tile_queries, tile_documents, read in ((7, 160, 1000), (300, 5000, 5000), (128, 48, 4999)):
        monkeypatch.setattr(search_module, "TILE_QUERIES", tile_queries)
        monkeypatch.setattr(search_module, "TILE_DOCUMENTS", tile_documents)
        monkeypatch.setattr(search_module, "READ_DOCUMENTS", read)
        found = search(query, InMemory(document), 25)
        np.testing.assert_array_equal(found.document_QK, expected.document_QK)
        np.testing.assert_allclose(found.score_QK, expected.score_QK, atol=2e-7)


def test_bfloat16_finds_what_float32_finds():
    query, document = unit_vectors(200, 64, 10), unit_vectors(6000, 64, 11)
    exact, rough = (search(query, InMemory(document), 50, dtype=dtype) for dtype in ("float32", "bfloat16"))
    same = (exact.document_QK == rough.document_QK).mean()
    assert same > 0.99
    np.testing.assert_allclose(rough.score_QK, exact.score_QK, atol=1e-3)


def test_faiss_flat_agrees():
    faiss = pytest.importorskip("faiss")
    query, document = unit_vectors(50, 32, 12), unit_vectors(3000, 32, 13)
    index = faiss.IndexFlatIP(32)
    index.add(document)
    np.testing.assert_array_equal(search(query, InMemory(document), 30).document_QK, index.search(query, 30)[1])


def test_k_of_zero_is_refused():
    with pytest.raises(ValueError, match="k: 0 is not ≥ 1"):
        search(unit_vectors(1, 4, 0), InMemory(unit_vectors(1, 4, 0)), 0)
