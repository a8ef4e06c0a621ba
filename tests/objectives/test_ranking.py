"""The one hit rate and nDCG@10 that trials, merges and held-out figures share: definitions, edges, and no luck."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyglossa.objectives.ranking import best_documents, hit_rate_at_1, ndcg_at_10

DOCUMENTS = torch.eye(4)
QUERIES = torch.tensor([[1.0, 0.5, 0.2, 0.1], [0.1, 0.2, 0.5, 1.0]])


def test_hit_rate_and_ndcg_follow_their_definitions() -> None:
    assert hit_rate_at_1(QUERIES, DOCUMENTS, [[0], [0, 2]]).tolist() == [1.0, 0.0]
    both = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert ndcg_at_10(QUERIES, DOCUMENTS, [[1], [0, 2]]).tolist() == pytest.approx([1 / math.log2(3), both])


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_ndcg_is_that_of_the_evaluator_under_mteb(seed: int) -> None:
    import pytrec_eval

    chance = np.random.default_rng(seed)
    query_QD, document_PD = (torch.from_numpy(chance.normal(size=(count, 5))) for count in (7, 40))
    relevant = [sorted(chance.choice(40, size=chance.integers(1, 15), replace=False).tolist()) for _ in range(7)]
    qrels = {str(query): {str(row): 1 for row in rows} for query, rows in enumerate(relevant)}
    run = {
        str(query): {str(row): score for row, score in enumerate(scores)}
        for query, scores in enumerate((query_QD @ document_PD.T).tolist())
    }
    found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "success.1"}).evaluate(run)
    for measure, name in ((ndcg_at_10, "ndcg_cut_10"), (hit_rate_at_1, "success_1")):
        expected = [found[str(query)][name] for query in range(7)]
        assert measure(query_QD, document_PD, relevant).tolist() == pytest.approx(expected, abs=1e-12)


def test_what_is_excluded_is_no_rival_and_no_hit() -> None:
    excluded_QP = torch.tensor([[True, False, False, False], [False, False, False, True]])
    assert best_documents(QUERIES, DOCUMENTS, 4, excluded_QP=excluded_QP).tolist() == [[1, 2, 3, -1], [2, 1, 0, -1]]
    assert ndcg_at_10(QUERIES, DOCUMENTS, [[1], [3]], excluded_QP=excluded_QP).tolist() == [1.0, 0.0]


def test_a_collapsed_model_gains_nothing_by_ties_and_one_without_numbers_finds_nothing() -> None:
    own = [[row] for row in range(500)]
    assert ndcg_at_10(torch.ones(500, 3), torch.ones(500, 3), own).mean() < 0.05
    nothing = torch.full((500, 3), torch.nan)
    assert ndcg_at_10(nothing, nothing, own).sum() == hit_rate_at_1(nothing, nothing, own).sum() == 0


def test_queries_are_searched_in_blocks_with_the_same_result() -> None:
    query_QD, document_PD = torch.randn(5000, 4), torch.randn(20, 4)
    expected = (query_QD @ document_PD.T).argmax(1)
    assert torch.equal(best_documents(query_QD, document_PD, 3)[:, 0], expected)
    assert ndcg_at_10(query_QD[:0], document_PD, []).shape == (0,)
