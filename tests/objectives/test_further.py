"""Further terms, off by default: what each is blind to, its gradient, and how a batch's loss takes them by name."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from polyglossa.objectives.batch import Examples, embedding_loss
from polyglossa.objectives.distillation import cosine_to_teacher, similarity_kl
from polyglossa.objectives.terms import TERMS

OPTIONS: dict[str, Any] = {"temperature": 0.3, "widths": (4, 8), "weights": (0.5, 1.0)}
EXAMPLES = Examples(
    query_Q=torch.tensor([0, 1, 2]),
    positive_Q=torch.tensor([3, 4, 5]),
    negatives_QN=torch.tensor([[6, -1], [5, 6], [-1, -1]]),
    group_Q=torch.tensor([0, 1, 0]),
    in_batch=True,
)


def table(width: int = 8, seed: int = 0, texts: int = 7) -> Tensor:
    return torch.randn(texts, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotation(width: int, seed: int) -> Tensor:
    return torch.linalg.qr(table(width, seed, texts=width))[0]


@pytest.mark.parametrize("name", TERMS)
def test_gradient_of_each_term(name: str) -> None:
    teacher_TE = table(12, seed=1)

    def loss(state_TD: Tensor) -> Tensor:
        options = OPTIONS | {"hard_weight": 0.0, "in_batch_weight": 0.0, "teacher_TE": teacher_TE}
        return embedding_loss(state_TD, EXAMPLES, further={name: 0.7}, **options)[0]

    assert gradcheck(loss, (table().requires_grad_(),))


@pytest.mark.parametrize("name", TERMS)
def test_each_term_is_added_with_its_weight_and_leaves_the_teacher_alone(name: str) -> None:
    state_TD, teacher_TE = table().requires_grad_(), table(12, seed=1).requires_grad_()
    plain, _ = embedding_loss(state_TD, EXAMPLES, **OPTIONS)
    loss, terms = embedding_loss(state_TD, EXAMPLES, teacher_TE=teacher_TE, further={name: 0.7}, **OPTIONS)
    torch.testing.assert_close(loss, plain + 0.7 * terms[name])
    loss.backward()
    assert teacher_TE.grad is None


@given(st.integers(0, 1000), st.floats(0.1, 10.0))
@settings(max_examples=20, deadline=None)
def test_cosine_sees_directions_only(seed: int, scale: float) -> None:
    teacher_TE = table(8, seed)
    torch.testing.assert_close(cosine_to_teacher(scale * teacher_TE[:, :5], teacher_TE), torch.zeros(7).double())
    torch.testing.assert_close(cosine_to_teacher(-teacher_TE, teacher_TE), torch.full((7,), 2.0).double())


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_similarity_kl_is_blind_to_rotation_and_never_negative(seed: int) -> None:
    teacher_TE, student_TD = table(8, seed), table(5, seed + 1)
    turned_TE = 3.0 * teacher_TE @ rotation(8, seed)
    same = similarity_kl(turned_TE[:3], turned_TE[3:], teacher_TE[:3], teacher_TE[3:], temperature=0.1)
    other = similarity_kl(student_TD[:3], student_TD[3:], teacher_TE[:3], teacher_TE[3:], temperature=0.1)
    torch.testing.assert_close(same, torch.zeros((), dtype=torch.float64))
    assert other > 0


def test_cross_space_of_a_perfect_copy_is_the_in_batch_term() -> None:
    state_TD = table()
    options = OPTIONS | {"widths": (8,), "weights": (1.0,)}
    _, terms = embedding_loss(state_TD, EXAMPLES, teacher_TE=state_TD.clone(), further={"cross_space": 1.0}, **options)
    torch.testing.assert_close(terms["cross_space"], terms["in_batch"])


def test_an_unknown_term_and_a_missing_teacher_are_refused() -> None:
    with pytest.raises(ValueError, match="'cosin' is not known; terms are cosine"):
        embedding_loss(table(), EXAMPLES, further={"cosin": 1.0}, **OPTIONS)
    with pytest.raises(ValueError, match="no teacher states"):
        embedding_loss(table(), EXAMPLES, further={"cosine": 1.0}, **OPTIONS)
