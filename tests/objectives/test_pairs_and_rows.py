"""Scored pairs, a re-scorer's scores of a row's candidates, spread and learned widths: definitions and edges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from polyglossa.objectives.matryoshka import LEARNED_BOUNDS, learned_weights
from polyglossa.objectives.rescored import candidate_kl, margin_mse
from polyglossa.objectives.scored_pairs import angle, cosent
from polyglossa.objectives.spread import spread_out

NAN = math.nan
TEACHER_QC = torch.tensor([[0.9, 0.1, 0.8, NAN], [0.4, 0.3, NAN, NAN], [NAN, 0.5, 0.2, 0.1]], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows() -> tuple[Tensor, Tensor, Tensor]:
    return normal(3, 6), normal(3, 6, seed=1), normal(3, 3, 6, seed=2)


def cosine(first: Tensor, second: Tensor) -> float:
    return float(first @ second / (first.norm() * second.norm()))


@pytest.mark.parametrize("width", [6, 7])
def test_cosent_and_angle_are_those_of_sentence_transformers(width: int) -> None:
    from sentence_transformers.util import pairwise_angle_sim, pairwise_cos_sim

    first, second = normal(5, width).float(), normal(5, width, seed=1).float()
    score = torch.tensor([0.1, 0.9, 0.9, 0.3, 0.5])
    for loss, similarity in ((cosent, pairwise_cos_sim), (angle, pairwise_angle_sim)):
        found = similarity(first, second).double()
        gaps = [20 * (found[j] - found[i]) for i in range(5) for j in range(5) if score[i] > score[j]]
        expected = math.log(1 + sum(math.exp(gap) for gap in gaps))
        assert float(loss(first.double(), second.double(), score, temperature=0.05)) == pytest.approx(
            expected, rel=1e-5
        )


def test_gradients_of_scored_pairs() -> None:
    score = torch.tensor([0.1, 0.9, 0.3])
    for loss in (cosent, angle):
        assert gradcheck(lambda a, b, loss=loss: loss(a, b, score, temperature=0.3), (
            normal(3, 5).requires_grad_(), normal(3, 5, seed=1).requires_grad_(),
        ))  # fmt: skip


@given(st.integers(0, 1000), st.floats(0.1, 5.0), st.floats(-1.0, 1.0))
@settings(max_examples=20, deadline=None)
def test_only_the_order_of_scores_counts(seed: int, factor: float, shift: float) -> None:
    first, second, score = normal(4, 6, seed=seed), normal(4, 6, seed=seed + 1), torch.tensor([0.0, 0.25, 0.75, 1.0])
    for loss in (cosent, angle):
        values = [float(loss(first, second, one, temperature=0.1)) for one in (score, factor * score + shift)]
        assert values[0] == pytest.approx(values[1])
        assert float(loss(first[:1], second[:1], score[:1], temperature=0.1)) == 0.0


def test_margins_are_compared_where_both_scores_are_there() -> None:
    query, positive, negative = rows()
    errors = [
        cosine(query[i], positive[i])
        - cosine(query[i], negative[i, n])
        - float(TEACHER_QC[i, 0] - TEACHER_QC[i, 1 + n])
        for i, n in ((0, 0), (0, 1), (1, 0))
    ]
    expected = sum(error**2 for error in errors) / 3
    assert float(margin_mse(query, positive, negative, TEACHER_QC)) == pytest.approx(expected, abs=1e-12)


def test_rankings_are_compared_over_the_scored_candidates_of_a_row() -> None:
    query, positive, negative = rows()
    expected = 0.0
    for i, candidates in enumerate(([0, 1, 2], [0, 1], [1, 2, 3])):
        all_scores = TEACHER_QC[i].tolist()
        all_cosines = [cosine(query[i], positive[i]), *(cosine(query[i], one) for one in negative[i])]
        teacher, student = (
            torch.tensor([found[c] / 0.2 for c in candidates], dtype=torch.float64).log_softmax(0)
            for found in (all_scores, all_cosines)
        )
        expected += float((teacher.exp() * (teacher - student)).sum()) / 3
    found = candidate_kl(query, positive, negative, TEACHER_QC, temperature=0.2)
    assert float(found) == pytest.approx(expected, abs=1e-12)


def test_gradients_of_a_re_scorers_scores_reach_the_student_and_no_missing_score() -> None:
    query, positive, negative = (one.requires_grad_() for one in rows())
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda q, p, n: margin_mse(q, p, n, TEACHER_QC), (query, positive, negative))
    assert gradcheck(
        lambda q, p, n, tau: candidate_kl(q, p, n, TEACHER_QC, temperature=tau),
        (query, positive, negative, tau),
    )
    nothing = torch.full((3, 4), NAN, dtype=torch.float64)
    nothing[:, 0] = 0.9
    for value in (
        margin_mse(query, positive, negative, nothing),
        candidate_kl(query, positive, negative, nothing, temperature=tau),
    ):
        assert float(value.detach()) == 0.0
        (gradient,) = torch.autograd.grad(value, query)
        assert not gradient.any()


@given(st.integers(0, 1000), st.floats(-3.0, 3.0))
@settings(max_examples=20, deadline=None)
def test_a_student_that_ranks_as_the_re_scorer_pays_nothing_and_a_shift_of_its_scores_is_nothing(
    seed: int, shift: float
) -> None:
    query, positive, negative = normal(3, 6, seed=seed), normal(3, 6, seed=seed + 1), normal(3, 2, 6, seed=seed + 2)
    own = torch.tensor([cosine(q, p) for q, p in zip(query, positive, strict=True)], dtype=torch.float64)
    others = torch.tensor(
        [[cosine(q, one) for one in row] for q, row in zip(query, negative, strict=True)], dtype=torch.float64
    )
    given = (query, positive, negative, torch.cat([own[:, None], others], dim=1) + shift)
    assert float(margin_mse(*given)) == pytest.approx(0.0, abs=1e-12)
    assert float(candidate_kl(*given, temperature=0.1)) == pytest.approx(0.0, abs=1e-12)
    assert float(candidate_kl(*given[:3], -given[3], temperature=0.1)) >= 0.0


def test_spread_is_the_mean_squared_cosine_of_different_texts() -> None:
    state, text = normal(4, 6), torch.tensor([0, 1, 2, 1])
    pairs = [(i, j) for i in range(4) for j in range(4) if text[i] != text[j]]
    expected = sum(cosine(state[i], state[j]) ** 2 for i, j in pairs) / len(pairs)
    assert float(spread_out(state, text)) == pytest.approx(expected, abs=1e-12)
    assert gradcheck(lambda one: spread_out(one, text), (normal(4, 6).requires_grad_(),))
    assert float(spread_out(state, torch.zeros(4))) == 0.0


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_spread_sees_neither_rotation_nor_length_and_orthogonal_texts_pay_nothing(seed: int) -> None:
    state, text = normal(5, 6, seed=seed), torch.arange(5)
    turned = 3.0 * state @ torch.linalg.qr(normal(6, 6, seed=seed + 1))[0]
    torch.testing.assert_close(spread_out(turned, text), spread_out(state, text))
    assert float(spread_out(torch.eye(5, 6, dtype=torch.float64), text)) == 0.0
    assert float(spread_out(torch.ones(5, 6, dtype=torch.float64), text)) == pytest.approx(1.0)


def test_a_learned_weight_comes_to_rest_at_one_over_its_loss() -> None:
    loss_K = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64)
    log_weight_K = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for _ in range(2000):
        weight_K, cost = learned_weights(log_weight_K)
        (gradient,) = torch.autograd.grad((weight_K * loss_K).sum() + cost, log_weight_K)
        log_weight_K = (log_weight_K - 0.05 * gradient).detach().requires_grad_()
    torch.testing.assert_close(learned_weights(log_weight_K)[0], 1 / loss_K, rtol=1e-6, atol=0)
    assert gradcheck(
        lambda one: torch.stack([learned_weights(one)[0].sum(), learned_weights(one)[1]]), (normal(3).requires_grad_(),)
    )
    extreme = learned_weights(torch.tensor([-50.0, 50.0]))[0].tolist()
    assert extreme == pytest.approx(LEARNED_BOUNDS)
