"""The loss of one global batch, from the states of its distinct texts.

T = distinct texts of the batch, D = width, E = width of the teacher's states, Q = examples, N = negatives of an
example. Examples are indices into the table of texts, so a text is embedded once whatever roles it plays; roles, not
texts, decide where gradient stops.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from polyglossa.objectives.contrastive import hard_negative_loss, in_batch_loss
from polyglossa.objectives.distillation import mse_to_teacher
from polyglossa.objectives.examples import Examples
from polyglossa.objectives.masks import above_positive
from polyglossa.objectives.terms import TEACHER_TERMS, TERMS, TermInputs, weigh_terms

__all__ = ["Examples", "embedding_loss", "further_loss", "teacher_loss"]


def embedding_loss(
    state_TD: Tensor,
    examples: Examples,
    *,
    temperature: float | Tensor,
    widths: Sequence[int],
    weights: Sequence[float],
    hard_weight: float = 1.0,
    in_batch_weight: float = 1.0,
    gather: Literal["with_grad", "query_only"] = "with_grad",
    mask: Literal["none", "known", "known+score"] = "known",
    score_margin: float = 0.0,
    bidirectional: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum the contrastive terms of F2LLM-v2 over one global batch.

    loss = Σ_width weight · (hard_weight · hard + in_batch_weight · in_batch)

    Args:
        state_TD: raw states of the batch's distinct texts.
        examples: which text is whose query, positive and negative.
        temperature: softmax temperature of the contrastive terms.
        widths: Matryoshka widths (only D: no Matryoshka).
        weights: weight of each width.
        hard_weight: weight of the term over a query's own negatives.
        in_batch_weight: weight of the term over the batch's positives.
        gather: `with_grad` trains both sides of the in-batch term, `query_only` detaches its candidates (published).
        mask: in-batch candidates left out: none (published), known positives, or also those above the positive's score.
        score_margin: cosine margin of `known+score`.
        bidirectional: add the positive → query direction to the in-batch term.

    Returns:
        The loss (scalar), and its terms by name: detached, each summed over widths with their weights and without its
        own.
    """
    state_TD = state_TD if state_TD.dtype == torch.float64 else state_TD.float()
    terms: dict[str, Tensor] = {}
    loss = state_TD.new_zeros(()) * state_TD.sum()
    if hard_weight and examples.negatives_QN.shape[1]:
        terms["hard"] = _over_widths(_hard, state_TD, examples, widths, weights, temperature=temperature)
        loss = loss + hard_weight * terms["hard"]
    if in_batch_weight and examples.in_batch:
        terms["in_batch"] = _over_widths(
            _in_batch,
            state_TD,
            examples,
            widths,
            weights,
            temperature=temperature,
            excluded_QQ=_exclusion_mask(state_TD, examples, mask, score_margin),
            detach=gather == "query_only",
            bidirectional=bidirectional,
        )
        loss = loss + in_batch_weight * terms["in_batch"]
    return loss, {name: term.detach() for name, term in terms.items()}


def further_loss(inputs: TermInputs, weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum the further terms that need no teacher.

    Args:
        inputs: states and examples.
        weights: weights of terms by name; those that need a teacher are left to `teacher_loss`.

    Returns:
        The weighted sum (scalar), and its terms by name, detached and without their weights.
    """
    terms = weigh_terms(TERMS, weights, inputs)
    loss = sum((weights[name] * term for name, term in terms.items()), inputs.state_TD.new_zeros(()))
    return loss, {name: term.detach() for name, term in terms.items()}


def teacher_loss(
    inputs: TermInputs, *, distillation_weight: float, further: Mapping[str, float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum the terms that pull a student to one teacher; the published one is over the full width only.

    loss = distillation_weight · distillation + Σ_further weight · term

    Args:
        inputs: states, examples and the teacher's states.
        distillation_weight: weight of the published term; needs a teacher where it is not 0.
        further: weights of further terms by name; those that need no teacher are left to `further_loss`.

    Returns:
        The weighted sum (scalar), and its terms by name, detached and without their weights.

    Raises:
        ValueError: a term needs a teacher and the batch brings none.
    """
    loss, terms = inputs.state_TD.new_zeros(()), dict[str, Tensor]()
    if distillation_weight:
        terms["distillation"] = inputs.examples.mean_by_role(mse_to_teacher(inputs.matched, inputs.teacher))
        loss = loss + distillation_weight * terms["distillation"]
    found = weigh_terms(TEACHER_TERMS, further, inputs)
    loss = sum((further[name] * term for name, term in found.items()), loss)
    terms |= found
    return loss, {name: term.detach() for name, term in terms.items()}


def _over_widths(
    term: Callable[..., Tensor],
    state_TD: Tensor,
    examples: Examples,
    widths: Sequence[int],
    weights: Sequence[float],
    **options: Any,
) -> Tensor:
    pairs = zip(widths, weights, strict=True)
    return torch.stack([weight * term(state_TD[:, :width], examples, **options) for width, weight in pairs]).sum()


def _hard(state_TD: Tensor, examples: Examples, *, temperature: float | Tensor) -> Tensor:
    return hard_negative_loss(
        state_TD[examples.query_Q],
        state_TD[examples.positive_Q],
        state_TD[examples.negatives_QN.clamp_min(0)],
        temperature=temperature,
        valid_QN=examples.negatives_QN >= 0,
    )


def _in_batch(
    state_TD: Tensor,
    examples: Examples,
    *,
    temperature: float | Tensor,
    excluded_QQ: Tensor | None,
    detach: bool,
    bidirectional: bool,
) -> Tensor:
    query_QD, positive_QD = state_TD[examples.query_Q], state_TD[examples.positive_Q]
    own_Q = torch.arange(len(query_QD), device=state_TD.device)

    def one_way(row_QD: Tensor, candidate_QD: Tensor, excluded_QQ: Tensor | None) -> Tensor:
        candidate_QD = candidate_QD.detach() if detach else candidate_QD
        return in_batch_loss(row_QD, candidate_QD, own_Q, temperature=temperature, excluded_QP=excluded_QQ)

    loss = one_way(query_QD, positive_QD, excluded_QQ)
    if bidirectional:
        loss = loss + one_way(positive_QD, query_QD, None if excluded_QQ is None else excluded_QQ.T)
    return loss


def _exclusion_mask(state_TD: Tensor, examples: Examples, mask: str, margin: float) -> Tensor | None:
    if mask == "none":
        return None
    excluded_QQ = examples.known_positives()
    if mask == "known+score":
        excluded_QQ |= above_positive(state_TD[examples.query_Q], state_TD[examples.positive_Q], margin)
    return excluded_QQ
