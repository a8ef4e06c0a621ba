"""In-batch candidates by choice and a guide's masks: each kind as its definition says, and nothing else."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from polyglossa.objectives.batch import Examples, embedding_loss
from polyglossa.objectives.candidates import KINDS, Guide, candidate_masks
from polyglossa.objectives.contrastive import FurtherCandidates, in_batch_loss

TAU = 0.3
OPTIONS: dict[str, Any] = {"temperature": TAU, "widths": (4, 8), "weights": (0.3, 1.0), "hard_weight": 0.0}
TEXTS = 14


def table(width: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(TEXTS, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def examples(**changes: Any) -> Examples:
    """Rows 0 and 4 share a group; text 6 is row 1's positive and row 3's negative; two rows have text 11."""
    given: dict[str, Any] = {
        "query_Q": torch.tensor([0, 1, 2, 3, 4]),
        "positive_Q": torch.tensor([5, 6, 7, 8, 9]),
        "negatives_QN": torch.tensor([[10, 11], [11, -1], [-1, -1], [6, 12], [5, 13]]),
        "group_Q": torch.tensor([0, 1, 2, 3, 0]),
        "in_batch": True,
        "source_Q": torch.tensor([0, 0, 0, 1, 0]),
    }
    return Examples(**given | changes)


def reference(
    state_TD: Tensor, of: Examples, kinds: Sequence[str], mask: str, guide: Guide | None, margin: float = 0.1
) -> float:
    """The in-batch term at one width, candidate by candidate."""
    vector = torch.nn.functional.normalize(state_TD, dim=1)
    seen = torch.nn.functional.normalize(guide.state_TE, dim=1) if guide is not None else None
    full = torch.nn.functional.normalize(table(), dim=1)
    query, positive, group = of.query_Q.tolist(), of.positive_Q.tolist(), of.group_Q.tolist()
    source = of.source_Q.tolist() if of.source_Q is not None else [0] * len(query)
    negatives = [[text for text in row if text >= 0] for row in of.negatives_QN.tolist()]

    def same(i: int, j: int) -> bool:
        alike = group[i] == group[j] or query[i] == query[j] or positive[i] == positive[j]
        return alike or query[i] == positive[j] or positive[i] == query[j]

    def is_out(i: int, row: int, text: int, *, guided: bool) -> bool:
        known = mask == "known+score" and full[row] @ full[text] > full[query[i]] @ full[positive[i]] + margin
        if not guided or seen is None or guide is None:
            return bool(known)
        return bool(known or seen[row] @ seen[text] > seen[query[i]] @ seen[positive[i]] + guide.margin)

    total = 0.0
    for i in range(len(query)):
        others = [j for j in range(len(query)) if j != i and not (mask != "none" and source[i] != source[j])]
        rivals = [j for j in others if mask == "none" or not same(i, j)]
        wanted = [j for j in rivals if is_out(i, query[i], positive[j], guided=True)]
        known = [j for j in rivals if is_out(i, query[i], positive[j], guided=False)]
        left = [j for j in rivals if j not in known]
        guided = guide is not None and len(set(wanted) - set(known)) <= guide.most * len(left)
        texts: list[tuple[int, int]] = [(query[i], positive[j]) for j in rivals]
        if "negatives" in kinds:
            means = {text for j in range(len(query)) if j == i or same(i, j) for text in (query[j], positive[j])}
            found = {text for j in others for text in negatives[j]}
            texts += [(query[i], text) for text in sorted(found) if mask == "none" or text not in means]
        if "queries" in kinds:
            texts += [(query[i], query[j]) for j in rivals]
        if "documents" in kinds:
            texts += [(positive[i], positive[j]) for j in rivals]
        kept = [(row, text) for row, text in texts if not is_out(i, row, text, guided=guided)]
        scores = [float(vector[row] @ vector[text]) / TAU for row, text in kept]
        own = float(vector[query[i]] @ vector[positive[i]]) / TAU
        total += math.log(sum(math.exp(score) for score in (own, *scores))) - own
    return total / len(query)


@pytest.mark.parametrize("mask", ["none", "known", "known+score"])
@pytest.mark.parametrize(
    "kinds", [("positives", *more) for more in ((), ("negatives",), ("queries",), ("documents",), KINDS[1:])]
)
@pytest.mark.parametrize("guided", [False, True])
def test_every_choice_is_the_term_by_its_definition(mask: str, kinds: tuple[str, ...], guided: bool) -> None:
    guide = Guide(table(6, seed=3), margin=-0.1, most=0.7) if guided else None
    state_TD, of = table(), examples()
    _, terms = embedding_loss(state_TD, of, mask=mask, candidates=kinds, guide=guide, score_margin=0.1, **OPTIONS)
    parts = zip((4, 8), (0.3, 1.0), strict=True)
    expected = sum(weight * reference(state_TD[:, :width], of, kinds, mask, guide) for width, weight in parts)
    assert float(terms["in_batch"]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("gather", ["with_grad", "query_only"])
def test_gradient_with_every_kind(gather: str) -> None:
    kinds = KINDS if gather == "with_grad" else ("positives", "negatives", "queries")
    guide = Guide(table(6, seed=3), margin=-0.1, most=0.7)

    def loss(state_TD: Tensor) -> Tensor:
        return embedding_loss(state_TD, examples(), candidates=kinds, guide=guide, gather="with_grad", **OPTIONS)[0]

    assert gradcheck(loss, (table().requires_grad_(),))
    state_TD = table().requires_grad_()
    embedding_loss(state_TD, examples(), candidates=kinds, gather=gather, mask="none", **OPTIONS)[0].backward()
    assert state_TD.grad is not None
    reached = state_TD.grad.abs().sum(1).nonzero().flatten().tolist()
    assert reached == ([*range(TEXTS)] if gather == "with_grad" else [*range(5)])


def test_blocks_of_rows_give_the_value_and_gradient_of_one_block() -> None:
    masks, _ = candidate_masks(table(), examples(), KINDS, mask="known", margin=0.0)

    def loss(state_TD: Tensor, block_rows: int) -> Tensor:
        of = examples()
        more = [
            FurtherCandidates(state_TD[of.query_Q], state_TD[of.distinct_negatives], masks["negatives"]),
            FurtherCandidates(state_TD[of.positive_Q], state_TD[of.positive_Q], masks["documents"]),
        ]
        own_Q = torch.arange(5)
        query_QD, positive_QD = state_TD[of.query_Q], state_TD[of.positive_Q]
        return in_batch_loss(query_QD, positive_QD, own_Q, temperature=TAU, block_rows=block_rows, further=more)

    whole, parts = table().requires_grad_(), table().requires_grad_()
    loss(whole, 100).backward()
    loss(parts, 2).backward()
    torch.testing.assert_close(loss(parts, 2), loss(whole, 100))
    torch.testing.assert_close(parts.grad, whole.grad)


@given(st.permutations(range(TEXTS)), st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_neither_the_order_of_texts_nor_that_of_rows_matters(texts: list[int], rows: list[int]) -> None:
    guide_TE = table(6, seed=3)
    place_T = torch.empty(TEXTS, dtype=torch.int64)
    place_T[torch.tensor(texts)] = torch.arange(TEXTS)
    of = examples()
    assert of.source_Q is not None
    moved = Examples(
        query_Q=place_T[of.query_Q][rows],
        positive_Q=place_T[of.positive_Q][rows],
        negatives_QN=torch.where(of.negatives_QN < 0, -1, place_T[of.negatives_QN.clamp_min(0)])[rows],
        group_Q=of.group_Q[rows],
        in_batch=True,
        source_Q=of.source_Q[rows],
    )
    losses = [
        embedding_loss(state_TD, one, candidates=KINDS, guide=Guide(seen_TE, -0.1, 0.7), **OPTIONS)[0]
        for state_TD, one, seen_TE in ((table(), of, guide_TE), (table()[texts], moved, guide_TE[texts]))
    ]
    torch.testing.assert_close(*losses)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_more_candidates_never_make_it_easier(seed: int) -> None:
    state_TD, losses = table(seed=seed), []
    for count in range(1, len(KINDS) + 1):
        losses.append(float(embedding_loss(state_TD, examples(), candidates=KINDS[:count], **OPTIONS)[0]))
    assert losses == sorted(losses)


def test_a_guide_that_would_leave_out_most_of_a_row_is_not_asked_about_it() -> None:
    state_TD, of = table(), examples(source_Q=None, group_Q=torch.arange(5))
    away = Guide(-state_TD, margin=-1.9, most=0.5)  # scores nearly everything above the positive
    _, terms = embedding_loss(state_TD, of, guide=away, **OPTIONS)
    _, without = embedding_loss(state_TD, of, **OPTIONS)
    assert float(terms["unguided"]) == 1.0
    torch.testing.assert_close(terms["in_batch"], without["in_batch"])
    other = Guide(state_TD, margin=-1.9, most=0.5, guided_Q=torch.zeros(5, dtype=torch.bool))
    assert float(embedding_loss(state_TD, of, guide=other, **OPTIONS)[1]["unguided"]) == 1.0


def test_a_guide_gets_no_gradient() -> None:
    guide_TE = table(6, seed=3).requires_grad_()
    embedding_loss(table().requires_grad_(), examples(), guide=Guide(guide_TE, 0.0, 0.9), **OPTIONS)[0].backward()
    assert guide_TE.grad is None
