"""The loss of a global batch: texts in several roles, gradient stopped by role, tasks without in-batch term."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from polyglossa.objectives.batch import Examples, embedding_loss
from polyglossa.objectives.distillation import mse_to_teacher

OPTIONS: dict[str, Any] = {"temperature": 0.1, "widths": (4, 8), "weights": (0.3, 1.0)}


def table(texts: int = 9, width: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(texts, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def examples(in_batch: bool = True) -> Examples:
    """Text 3 is a query and another row's positive; text 6 is a positive twice and a negative once."""
    return Examples(
        query_Q=torch.tensor([0, 1, 2, 3]),
        positive_Q=torch.tensor([4, 6, 3, 6]),
        negatives_QN=torch.tensor([[6, 7], [8, -1], [-1, -1], [5, 7]]),
        group_Q=torch.tensor([0, 1, 2, 3]),
        in_batch=in_batch,
    )


@pytest.mark.parametrize("mask", ["none", "known", "known+score"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradient_of_the_whole_loss(mask: str, bidirectional: bool) -> None:
    def loss(state_TD: Tensor) -> Tensor:
        return embedding_loss(state_TD, examples(), mask=mask, bidirectional=bidirectional, **OPTIONS)[0]

    assert gradcheck(loss, (table().requires_grad_(),))


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    loss, terms = embedding_loss(table(), examples(), hard_weight=0.5, in_batch_weight=2.0, **OPTIONS)
    torch.testing.assert_close(loss, 0.5 * terms["hard"] + 2.0 * terms["in_batch"])


def test_query_only_stops_gradient_by_role_not_by_text() -> None:
    state_TD = table().requires_grad_()
    options = OPTIONS | {"hard_weight": 0.0, "gather": "query_only", "mask": "none"}
    embedding_loss(state_TD, examples(), **options)[0].backward()
    assert state_TD.grad is not None
    reached = state_TD.grad.abs().sum(1).nonzero().flatten().tolist()
    assert reached == [0, 1, 2, 3]  # text 3 is trained as a query although it is a candidate too


def test_with_grad_trains_both_sides() -> None:
    state_TD = table().requires_grad_()
    embedding_loss(state_TD, examples(), **OPTIONS | {"hard_weight": 0.0, "mask": "none"})[0].backward()
    assert state_TD.grad is not None
    assert state_TD.grad.abs().sum(1).nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 6]


def test_tasks_without_in_batch_negatives_have_the_hard_term_only() -> None:
    _, terms = embedding_loss(table(), examples(in_batch=False), **OPTIONS)
    assert set(terms) == {"hard"}


def test_a_batch_with_no_term_gives_zero_and_zero_gradient() -> None:
    bare = Examples(
        query_Q=torch.tensor([0]),
        positive_Q=torch.tensor([1]),
        negatives_QN=torch.empty(1, 0, dtype=torch.int64),
        group_Q=torch.tensor([0]),
        in_batch=False,
    )
    state_TD = table().requires_grad_()
    loss, terms = embedding_loss(state_TD, bare, **OPTIONS)
    loss.backward()
    assert (loss.item(), terms) == (0.0, {})
    assert state_TD.grad is not None
    assert not state_TD.grad.any()


def test_the_mask_changes_the_denominator_by_the_known_candidates_only() -> None:
    state_TD = table()
    _, masked = embedding_loss(state_TD, examples(), **OPTIONS)
    apart = Examples(**{**vars(examples()), "group_Q": torch.tensor([0, 0, 0, 0])})
    _, alone = embedding_loss(state_TD, apart, **OPTIONS)
    assert alone["in_batch"].item() == 0.0  # every other candidate is of the same group
    assert masked["in_batch"] < embedding_loss(state_TD, examples(), mask="none", **OPTIONS)[1]["in_batch"]


@given(st.permutations(range(9)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_table_does_not_matter(order: list[int]) -> None:
    state_TD, base = table(), examples()
    place_T = torch.empty(9, dtype=torch.int64)
    place_T[torch.tensor(order)] = torch.arange(9)
    moved = Examples(
        query_Q=place_T[base.query_Q],
        positive_Q=place_T[base.positive_Q],
        negatives_QN=torch.where(base.negatives_QN < 0, -1, place_T[base.negatives_QN.clamp_min(0)]),
        group_Q=base.group_Q,
        in_batch=True,
    )
    expected = embedding_loss(state_TD, base, **OPTIONS)[0]
    torch.testing.assert_close(embedding_loss(state_TD[order], moved, **OPTIONS)[0], expected)
    distances = [mse_to_teacher(state_TD[rows], table(seed=1)[rows]) for rows in (torch.arange(9), torch.tensor(order))]
    torch.testing.assert_close(*(one.mean_by_role(value) for one, value in zip((base, moved), distances, strict=True)))


def test_low_precision_states_are_raised_to_float32() -> None:
    loss, _ = embedding_loss(table().bfloat16(), examples(), **OPTIONS)
    assert loss.dtype == torch.float32
