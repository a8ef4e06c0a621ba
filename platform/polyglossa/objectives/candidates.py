"""Who stands against a query's positive in the in-batch term: the batch's positives (F2LLM-v2), and what a recipe adds.

A kind of candidates is a pair of roles: whose states are compared with whose. All of them share one softmax, as in GTE
(arXiv 2308.03281) and Qwen3-Embedding (arXiv 2506.05176): −log(e^{s⁺/τ} / Σ_kinds Σ_candidates e^{s/τ}).

What a kind costs: no text is embedded for it, all of them stand in the batch's table. It adds C columns of logits
(float32; 1,024 rows exist at a time, about three copies while the gradient is computed), Q · C bytes of masks (those
of negatives three times that while they are made), and 6 · Q · C · D operations for each width D. With 7 negatives a
row, none shared, and D = 1,024:

    batch   kind        C        logits of a block   masks     operations
    512     positives   512      1 MiB               256 KiB   1.6 · 10⁹
            negatives   3,584    7 MiB               1.8 MiB   1.1 · 10¹⁰
            queries     512      1 MiB               256 KiB   1.6 · 10⁹
            documents   512      1 MiB               256 KiB   1.6 · 10⁹
    4,096   positives   4,096    16 MiB              16 MiB    1.0 · 10¹¹
            negatives   28,672   112 MiB             112 MiB   7.2 · 10¹¹
            queries     4,096    16 MiB              16 MiB    1.0 · 10¹¹
            documents   4,096    16 MiB              16 MiB    1.0 · 10¹¹

One million tokens through 0.6 B parameters and back are 3.6 · 10¹⁵ operations: beside them all kinds together are
0.03 % of a batch of 4,096. Powers of two as Matryoshka widths double the operations; a mask that compares scores adds
2 · Q · C · D once, and Q · C floats for as long as it takes.

Q = examples, U = distinct negatives of the batch, C = candidates of a kind, T = texts, D = width, S = sources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyglossa.objectives.contrastive import FurtherCandidates
from polyglossa.objectives.examples import Examples
from polyglossa.objectives.masks import above_own, above_positive, known_positives

POSITIVES, NEGATIVES, QUERIES, DOCUMENTS = "positives", "negatives", "queries", "documents"
KINDS = (POSITIVES, NEGATIVES, QUERIES, DOCUMENTS)
"""Positives of the other rows; hard negatives of the other rows, each text once; the other queries; and, for the row's
own positive, the other positives."""


@dataclass(frozen=True)
class Guide:
    """A second encoder whose similarities tell which candidates may be positives (GISTEmbed, arXiv 2402.16829)."""

    state_TE: Tensor
    """Its raw states of the batch's texts."""
    margin: float
    """Added to its cosine of query and positive: what it scores above is left out."""
    most: float
    """Largest share of a row's positives that it may leave out; a row where it wants more is one that it cannot read,
    and is not guided."""
    guided_Q: Tensor | None = None
    """Rows that it guides; None means all."""


def candidate_masks(
    state_TD: Tensor,
    examples: Examples,
    kinds: Sequence[str],
    *,
    mask: str,
    margin: float,
    guide: Guide | None = None,
) -> tuple[dict[str, Tensor | None], Tensor | None]:
    """Decide which candidates of each kind are left out for which row.

    Args:
        state_TD: raw states of the texts.
        examples: which text is whose query, positive and negative.
        kinds: of `KINDS`.
        mask: `none`, `known` (rows that mean the same and their texts, other sources) or `known+score` (also what the
            model itself scores above the positive plus `margin`).
        margin: of cosines.
        guide: leaves out what it scores above the positive; None asks none.

    Returns:
        By kind a bool [Q, C], True where a candidate is left out, and None where nothing is; and which rows the guide
        was not asked for, bool [Q], where there is one.
    """
    same_QQ = examples.known_positives() if mask != "none" else None
    masks: dict[str, Tensor | None] = {POSITIVES: same_QQ}
    for kind in kinds:
        if kind == NEGATIVES:
            own_QU = _own_negatives(examples, across_sources=mask == "none")
            masks[kind] = own_QU if mask == "none" else own_QU | _known_negatives(examples)
        elif kind != POSITIVES:
            itself_QQ = torch.eye(len(examples.query_Q), dtype=torch.bool, device=state_TD.device)
            masks[kind] = itself_QQ if same_QQ is None else itself_QQ | same_QQ
    if mask == "known+score":
        masks = _joined(masks, _scored_above(state_TD, examples, masks, margin))
    if guide is None:
        return masks, None
    wanted = _scored_above(guide.state_TE.to(state_TD.dtype), examples, masks, guide.margin)
    unread_Q = _unread_rows(wanted[POSITIVES], masks[POSITIVES], guide.most)
    if guide.guided_Q is not None:
        unread_Q |= ~guide.guided_Q
    return _joined(masks, {kind: found_QC & ~unread_Q[:, None] for kind, found_QC in wanted.items()}), unread_Q


def further_candidates(
    state_TD: Tensor, examples: Examples, masks: Mapping[str, Tensor | None], *, detach: bool
) -> list[FurtherCandidates]:
    """Gather what stands beside the positives of the batch.

    Args:
        state_TD: raw states of the texts, at one width.
        examples: which text is whose query, positive and negative.
        masks: by kind.
        detach: whether candidates get no gradient.
    """
    found = []
    for kind, excluded_QC in masks.items():
        if kind == POSITIVES:
            continue
        rows_Q, texts_C = _roles(kind, examples)
        candidate_CD = state_TD[texts_C]
        found.append(
            FurtherCandidates(state_TD[rows_Q], candidate_CD.detach() if detach else candidate_CD, excluded_QC)
        )
    return found


def _roles(kind: str, examples: Examples) -> tuple[Tensor, Tensor]:
    """The texts that are compared, by row, and those that they are compared with."""
    return {
        POSITIVES: lambda: (examples.query_Q, examples.positive_Q),
        NEGATIVES: lambda: (examples.query_Q, examples.distinct_negatives),
        QUERIES: lambda: (examples.query_Q, examples.query_Q),
        DOCUMENTS: lambda: (examples.positive_Q, examples.positive_Q),
    }[kind]()


@torch.no_grad()
def _scored_above(
    state_TX: Tensor, examples: Examples, masks: Mapping[str, Tensor | None], margin: float
) -> dict[str, Tensor]:
    """Candidates of each kind that an encoder scores above query and positive."""
    query_QX, positive_QX = state_TX[examples.query_Q], state_TX[examples.positive_Q]
    found = {POSITIVES: above_positive(query_QX, positive_QX, margin)}
    for kind in masks:
        if kind != POSITIVES:
            rows_Q, texts_C = _roles(kind, examples)
            found[kind] = above_own(state_TX[rows_Q], state_TX[texts_C], query_QX, positive_QX, margin)
    return found


def _joined(masks: Mapping[str, Tensor | None], more: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    return {kind: more[kind] if known is None else known | more[kind] for kind, known in masks.items()}


def _unread_rows(wanted_QQ: Tensor, known_QQ: Tensor | None, most: float) -> Tensor:
    """Rows for which a guide would leave out more than a share of the candidates that are there."""
    there_QQ = torch.ones_like(wanted_QQ) if known_QQ is None else ~known_QQ
    others_Q = there_QQ.sum(1) - 1  # the own positive is always there
    return (wanted_QQ & there_QQ).sum(1) > most * others_Q


def _own_negatives(examples: Examples, *, across_sources: bool) -> Tensor:
    """Negatives that no other row has; where sources keep apart, no other row of the row's source."""
    own_QU, source_Q = _belongs(examples), examples.source_Q
    if source_Q is None or across_sources:
        return own_QU & (own_QU.sum(0) == 1)
    sources, place_Q = source_Q.unique(return_inverse=True)
    count_SU = torch.zeros(len(sources), own_QU.shape[1], dtype=torch.int32, device=own_QU.device)
    count_SU.index_add_(0, place_Q, own_QU.int())
    alone_QU = own_QU & (count_SU[place_Q] == 1)
    return alone_QU | (count_SU == 0)[place_Q]


def _belongs(examples: Examples) -> Tensor:
    """Whether a text is one of the row's own negatives, bool [Q, U]."""
    texts_U, chosen_QN = examples.distinct_negatives, examples.negatives_QN
    own_QU = torch.zeros(len(chosen_QN), len(texts_U) + 1, dtype=torch.bool, device=chosen_QN.device)
    return own_QU.scatter_(1, _place_among(texts_U, chosen_QN), True)[:, :-1]


def _known_negatives(examples: Examples) -> Tensor:
    """Negatives that are query or positive of a row that means the same, bool [Q, U]."""
    same_QQ = known_positives(examples.query_Q, examples.positive_Q, examples.group_Q)
    same_QQ.fill_diagonal_(True)
    # The operation that joins truth values is in beta; rows are counted, in numbers that hold two roles of each row.
    counted = torch.int16 if 2 * len(same_QQ) < torch.iinfo(torch.int16).max else torch.int32
    texts_U = examples.distinct_negatives
    count_QU = torch.zeros(len(same_QQ), len(texts_U) + 1, dtype=counted, device=same_QQ.device)
    for role_Q in (examples.query_Q, examples.positive_Q):
        count_QU.index_add_(1, _place_among(texts_U, role_Q), same_QQ.to(counted))
    return count_QU[:, :-1] > 0


def _place_among(texts_U: Tensor, text_Q: Tensor) -> Tensor:
    """Place of each text among others that ascend; their number where it is none of them."""
    place_Q = torch.searchsorted(texts_U, text_Q)
    padded_U1 = torch.cat([texts_U, texts_U.new_full((1,), -1)])
    return torch.where(padded_U1[place_Q] == text_Q, place_Q, len(texts_U))
