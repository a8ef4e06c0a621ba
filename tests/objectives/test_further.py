"""Further terms, off by default: what each is blind to, its gradient, and how a batch's loss takes them by name."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from polyglossa.objectives.batch import Examples, embedding_loss, further_loss, teacher_loss
from polyglossa.objectives.distillation import cosine_to_teacher, similarity_kl
from polyglossa.objectives.terms import TEACHER_TERMS, TERMS, TermInputs, check_terms, cross_space

EXAMPLES = Examples(
    query_Q=torch.tensor([0, 1, 2]),
    positive_Q=torch.tensor([3, 4, 5]),
    negatives_QN=torch.tensor([[6, -1], [5, 6], [-1, -1]]),
    group_Q=torch.tensor([0, 1, 0]),
    in_batch=True,
)


def table(width: int = 8, seed: int = 0, texts: int = 7) -> Tensor:
    return torch.randn(texts, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def inputs(state_TD: Tensor, teacher_TE: Tensor | None) -> TermInputs:
    return TermInputs(state_TD, EXAMPLES, teacher_TE, 0.3, widths=(4, 8), weights=(0.5, 1.0))


def scored(given: TermInputs, *scores: float) -> TermInputs:
    """With scores of pairs, and a re-scorer's of a row's candidates."""
    score_Q = torch.tensor(scores or (0.2, 0.9, 0.4), dtype=torch.float64)
    candidates = [[0.9, 0.2, 0.0], [0.7, 0.1, float("nan")], [0.8, float("nan"), float("nan")]]
    candidate_score_QC = torch.tensor(candidates, dtype=torch.float64)
    found = replace(given.examples, score_Q=score_Q, candidate_score_QC=candidate_score_QC)
    return replace(given, examples=found)


def rotation(width: int, seed: int) -> Tensor:
    return torch.linalg.qr(table(width, seed, texts=width))[0]


@pytest.mark.parametrize("name", [name for name in (*TERMS, *TEACHER_TERMS) if name not in ("int8", "binary")])
def test_gradient_of_each_term(name: str) -> None:
    teacher_TE, term = table(12, seed=1), (TERMS | TEACHER_TERMS)[name]
    assert gradcheck(lambda state_TD: term(scored(inputs(state_TD, teacher_TE))), (table().requires_grad_(),))


@pytest.mark.parametrize("name", TEACHER_TERMS)
def test_each_term_is_added_with_its_weight_and_leaves_the_teacher_alone(name: str) -> None:
    state_TD, teacher_TE = table().requires_grad_(), table(12, seed=1).requires_grad_()
    loss, terms = teacher_loss(inputs(state_TD, teacher_TE), distillation_weight=3.0, further={name: 0.7})
    assert set(terms) == {"distillation", name}
    torch.testing.assert_close(loss, 3.0 * terms["distillation"] + 0.7 * terms[name])
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
    _, terms = embedding_loss(state_TD, EXAMPLES, temperature=0.3, widths=(8,), weights=(1.0,))
    torch.testing.assert_close(cross_space(inputs(state_TD, state_TD.clone())), terms["in_batch"])


def test_a_term_without_a_teacher_counts_where_there_is_none_and_leaves_the_others_to_a_teacher() -> None:
    given = scored(inputs(table(), None))
    loss, terms = further_loss(given, {"scores": 0.5, "cosine": 2.0})
    assert set(terms) == {"scores"}
    torch.testing.assert_close(loss, 0.5 * terms["scores"])
    assert float(further_loss(given, {})[0]) == 0.0


def test_pairs_that_lie_as_their_scores_say_cost_less_than_those_the_other_way_round() -> None:
    state_TD = table()
    given = inputs(state_TD, None)
    cosine_Q = torch.nn.functional.cosine_similarity(state_TD[EXAMPLES.query_Q], state_TD[EXAMPLES.positive_Q])
    right, wrong = (TERMS["scores"](scored(given, *(sign * cosine_Q).tolist())) for sign in (1, -1))
    assert right < wrong
    unscored = TERMS["scores"](scored(given, 0.5, float("nan"), float("nan")))
    assert float(unscored) == 0.0


def test_an_unknown_term_a_missing_teacher_and_missing_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="'cosin' is not known; terms are scores, angle, spread_out"):
        check_terms(["cosin"])
    with pytest.raises(ValueError, match="set `scores: true` for the stage"):
        further_loss(inputs(table(), None), {"scores": 1.0})
    with pytest.raises(ValueError, match=r"set `mine.rescore`, mine again"):
        further_loss(inputs(table(), None), {"margin_mse": 1.0})
    for weights in (
        {"distillation_weight": 0.0, "further": {"cosine": 1.0}},
        {"distillation_weight": 1.0, "further": {}},
    ):
        with pytest.raises(ValueError, match="no teacher states"):
            teacher_loss(inputs(table(), None), **weights)  # type: ignore[arg-type]
