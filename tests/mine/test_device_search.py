"""Search as a GPU does it: the ranks are those of the search on processors, and the loop does not wait for the host."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from polyglossa.mine import device_search
from polyglossa.mine.device_search import EXTRA, find_candidates, keys_of, numbers_of, scores_of
from polyglossa.mine.documents import InMemory
from polyglossa.mine.search import Ranked, search, settle


def unit_vectors(count: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def as_on_a_gpu(query: np.ndarray, document: np.ndarray, k: int, dtype: torch.dtype, **options: int) -> Ranked:
    documents = InMemory(document)
    found = find_candidates(query, documents, k + EXTRA, precision=dtype, device="cpu", **options)
    return settle(query, documents, k, *found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("queries", "documents", "k"), [(1, 1, 1), (3, 70, 9), (40, 3001, 20), (33, 5000, 300)])
def test_ranks_are_those_of_the_search_on_processors(
    queries: int, documents: int, k: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_search, "TILE_QUERIES", 16)
    monkeypatch.setattr(device_search, "TILE_DOCUMENTS", 1024)
    query, document = unit_vectors(queries, 64, 0), unit_vectors(documents, 64, 1)
    expected = search(query, InMemory(document), k)
    for resident in (documents, 777):
        found = as_on_a_gpu(query, document, k, dtype, resident=resident)
        np.testing.assert_array_equal(found.document_QK, expected.document_QK)
        np.testing.assert_allclose(found.score_QK, expected.score_QK, atol=2e-7)


def test_documents_that_are_all_the_same_rank_by_number() -> None:
    document = np.repeat(unit_vectors(1, 16, 6), 5000, axis=0)
    found = as_on_a_gpu(unit_vectors(10, 16, 7), document, 12, torch.bfloat16)
    np.testing.assert_array_equal(found.document_QK, np.tile(np.arange(12), (10, 1)))


def test_keys_order_scores_and_then_numbers() -> None:
    score = torch.tensor([-torch.inf, -2.0, -1e-30, -0.0, 0.0, 0.0, 1e-30, 3.5])
    number = torch.tensor([5, 0, 7, 9, 8, 1, 4_000_000_000, 3])
    key = keys_of(score, number)
    assert key.argsort(descending=True).tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert torch.equal(numbers_of(key), number)
    assert torch.equal(scores_of(key), score + 0.0)


class _Waits(TorchDispatchMode):
    """Notes operators for which a host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        if function.name() in ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"):
            self.found.append(function.name())
        return function(*arguments, **(options or {}))


def test_the_loop_over_tiles_does_not_wait_for_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_search, "TILE_DOCUMENTS", 256)
    with _Waits() as waits:
        find_candidates(
            unit_vectors(20, 32, 0), InMemory(unit_vectors(2000, 32, 1)), 70, precision=torch.bfloat16, device="cpu"
        )
    assert not waits.found
