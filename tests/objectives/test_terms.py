"""Each term by itself: gradients against finite differences, and the property that makes it the term it is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from polyglossa.objectives.contrastive import hard_negative_loss, in_batch_loss
from polyglossa.objectives.distillation import mse_to_teacher
from polyglossa.objectives.masks import above_positive, known_positives

SEEDS = st.integers(0, 2**31)


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def test_hard_negative_gradient() -> None:
    valid_QN = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    inputs = (normal(3, 5), normal(3, 5, seed=1), normal(3, 3, 5, seed=2), tau)
    assert gradcheck(lambda q, p, n, tau: hard_negative_loss(q, p, n, temperature=tau, valid_QN=valid_QN), inputs)


@pytest.mark.parametrize("block_rows", [2, 100])
def test_in_batch_gradient(block_rows: int) -> None:
    excluded_QP = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    positive_Q = torch.tensor([0, 1, 2, 3, 0])
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(
        lambda q, c, tau: in_batch_loss(
            q, c, positive_Q, temperature=tau, excluded_QP=excluded_QP, block_rows=block_rows
        ),
        (normal(5, 6), normal(4, 6, seed=1), tau),
    )


def test_distillation_gradient_reaches_the_student_alone() -> None:
    student_TD, teacher_TE = normal(4, 3), normal(4, 5, seed=1)
    assert gradcheck(lambda student: mse_to_teacher(student, teacher_TE), (student_TD,))
    mse_to_teacher(student_TD, teacher_TE).sum().backward()
    assert student_TD.grad is not None
    assert teacher_TE.grad is None


@given(SEEDS, st.integers(1, 4), st.floats(0.1, 30.0))
@settings(max_examples=25, deadline=None)
def test_hard_term_does_not_see_lengths_nor_absent_negatives(seed: int, negatives: int, scale: float) -> None:
    query_QD, positive_QD, negative_QND = normal(3, 6, seed=seed), normal(3, 6, seed=seed + 1), normal(3, 4, 6, seed=5)
    valid_QN = torch.arange(4).expand(3, 4) < negatives
    loss = hard_negative_loss(query_QD, positive_QD, negative_QND, temperature=0.1, valid_QN=valid_QN)
    shorter = hard_negative_loss(scale * query_QD, positive_QD, negative_QND[:, :negatives], temperature=0.1)
    torch.testing.assert_close(loss, shorter)


@given(SEEDS, st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_in_batch_term_does_not_depend_on_blocks_nor_on_order(seed: int, block_rows: int) -> None:
    query_QD, candidate_PD = normal(8, 6, seed=seed), normal(10, 6, seed=seed + 1)
    generator = torch.Generator().manual_seed(seed)
    positive_Q = torch.randint(10, (8,), generator=generator)
    excluded_QP = (torch.rand(8, 10, generator=generator) < 0.3).scatter_(1, positive_Q[:, None], False)
    whole = in_batch_loss(query_QD, candidate_PD, positive_Q, temperature=0.1, excluded_QP=excluded_QP)
    rows, places = torch.randperm(8, generator=generator), torch.randperm(10, generator=generator)
    shuffled = in_batch_loss(
        query_QD[rows],
        candidate_PD[places],
        places.argsort()[positive_Q[rows]],
        temperature=0.1,
        excluded_QP=excluded_QP[rows][:, places],
        block_rows=block_rows,
    )
    torch.testing.assert_close(whole, shuffled)


@given(SEEDS, st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_distillation_reads_the_teachers_first_coordinates_only(seed: int, width: int) -> None:
    teacher_TE = normal(5, 6, seed=seed).detach()
    student_TD = teacher_TE[:, :width] + 0.5
    torch.testing.assert_close(mse_to_teacher(student_TD, teacher_TE), torch.full((5,), 0.25, dtype=torch.float64))


def test_a_teacher_narrower_than_its_student_is_refused() -> None:
    with pytest.raises(ValueError, match="width 3"):
        mse_to_teacher(normal(2, 4), normal(2, 3))


rows = st.lists(st.integers(0, 5), min_size=6, max_size=6).map(torch.tensor)


@given(rows, rows, rows, st.none() | rows)
@settings(deadline=None)
def test_known_positives_are_left_out_and_never_the_own_one(
    query_Q: Tensor, positive_Q: Tensor, group_Q: Tensor, source_Q: Tensor | None
) -> None:
    excluded_QQ = known_positives(query_Q, positive_Q, group_Q, source_Q)
    assert torch.equal(excluded_QQ, excluded_QQ.T)
    for row in range(6):
        for other in range(6):
            same = (
                group_Q[row] == group_Q[other]
                or query_Q[row] == query_Q[other]
                or positive_Q[row] == positive_Q[other]
                or query_Q[row] == positive_Q[other]
                or positive_Q[row] == query_Q[other]
                or (source_Q is not None and source_Q[row] != source_Q[other])
            )
            assert bool(excluded_QQ[row, other]) == (bool(same) and row != other)


def test_candidates_scored_above_the_positive_are_left_out() -> None:
    query_QD = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    positive_QD = torch.tensor([[0.6, 0.8], [0.0, 2.0]])
    assert above_positive(query_QD, positive_QD, 0.0).tolist() == [[False, False], [False, False]]
    assert above_positive(positive_QD, query_QD, 0.1).tolist() == [[False, True], [False, False]]
    assert above_positive(positive_QD, query_QD, 0.3).tolist() == [[False, False], [False, False]]
