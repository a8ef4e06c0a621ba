"""The loss of one global batch, from the states of its distinct texts.

T = distinct texts of the batch, D = width, E = width of the teacher's states, Q = examples, N = negatives of an
example. Examples are indices into the table of texts, so a text is embedded once whatever roles it plays; roles, not
texts, decide where gradient stops.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from polyglossa.objectives.candidates import POSITIVES, Guide, candidate_masks, further_candidates
from polyglossa.objectives.contrastive import hard_negative_loss, in_batch_loss
from polyglossa.objectives.distillation import mse_to_teacher
from polyglossa.objectives.examples import Examples
from polyglossa.objectives.terms import TEACHER_TERMS, TERMS, TermInputs, weigh_terms

__all__ = ["Examples", "embedding_loss", "further_loss", "teacher_loss"]

Output = Callable[[Tensor], Tensor]
"""Raw states at one width → what stands for them in the loss, as `straight_through.to_int8`."""


def embedding_loss(
    state_TD: Tensor,
    examples: Examples,
    *,
    temperature: float | Tensor,
    widths: Sequence[int],
    weights: Sequence[float] | Tensor,
    hard_weight: float = 1.0,
    in_batch_weight: float = 1.0,
    gather: Literal["with_grad", "query_only"] = "with_grad",
    mask: Literal["none", "known", "known+score"] = "known",
    score_margin: float = 0.0,
    bidirectional: bool = False,
    candidates: Sequence[str] = (POSITIVES,),
    guide: Guide | None = None,
    output: Output | None = None,
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
        bidirectional: add the positive → query direction to the in-batch term; its candidates are the queries alone.
        candidates: kinds of in-batch candidates, `positives` among them (`candidates.KINDS`).
        guide: a second encoder that leaves out candidates which it scores above the positive.
        output: what stands for the states at each width; None takes them as they are.

    Returns:
        The loss (scalar), and its terms by name: detached, each summed over widths with their weights and without its
        own. With a guide, `unguided` too: the share of rows for which it was not asked.
    """
    state_TD = state_TD if state_TD.dtype == torch.float64 else state_TD.float()
    terms: dict[str, Tensor] = {}
    loss = state_TD.new_zeros(()) * state_TD.sum()
    if hard_weight and examples.negatives_QN.shape[1]:
        terms["hard"] = _over_widths(_hard, state_TD, examples, widths, weights, output, temperature=temperature)
        loss = loss + hard_weight * terms["hard"]
    if in_batch_weight and examples.in_batch:
        masks, unread_Q = candidate_masks(state_TD, examples, candidates, mask=mask, margin=score_margin, guide=guide)
        if unread_Q is not None:
            terms["unguided"] = unread_Q.to(state_TD.dtype).mean()
        terms["in_batch"] = _over_widths(
            _in_batch,
            state_TD,
            examples,
            widths,
            weights,
            output,
            temperature=temperature,
            masks=masks,
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
    weights: Sequence[float] | Tensor,
    output: Output | None,
    **options: Any,
) -> Tensor:
    cut = [state_TD[:, :width] if output is None else output(state_TD[:, :width]) for width in widths]
    pairs = zip(cut, weights, strict=True)
    return torch.stack([weight * term(state_TW, examples, **options) for state_TW, weight in pairs]).sum()


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
    masks: Mapping[str, Tensor | None],
    detach: bool,
    bidirectional: bool,
) -> Tensor:
    excluded_QQ = masks[POSITIVES]
    query_QD, positive_QD = state_TD[examples.query_Q], state_TD[examples.positive_Q]
    own_Q = torch.arange(len(query_QD), device=state_TD.device)

    def one_way(row_QD: Tensor, candidate_QD: Tensor, excluded_QQ: Tensor | None, further: Any = ()) -> Tensor:
        candidate_QD = candidate_QD.detach() if detach else candidate_QD
        return in_batch_loss(
            row_QD, candidate_QD, own_Q, temperature=temperature, excluded_QP=excluded_QQ, further=further
        )

    loss = one_way(query_QD, positive_QD, excluded_QQ, further_candidates(state_TD, examples, masks, detach=detach))
    if bidirectional:
        loss = loss + one_way(positive_QD, query_QD, None if excluded_QQ is None else excluded_QQ.T)
    return loss
