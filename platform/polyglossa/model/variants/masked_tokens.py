"""Masked-token warm-up: a causal model that is made to read both ways learns to use what follows a token.

As LLM2Vec's masked next token prediction (arXiv 2404.05961): some tokens of a text are replaced, and each of them is
predicted from the state of the token before it, which is where a causal model's output layer expects it. The output
layer is the embedding table, as in models whose two are tied.

N = tokens of all texts, end to end; B = texts; M = masked tokens; D = width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from polyglossa.errors import DataError
from polyglossa.model.forward import TextModel
from polyglossa.runtime.transfer import send

COLUMNS = 2
"""What `fill_in` gives of each text."""


@dataclass(frozen=True)
class MaskedTokens:
    """How tokens are masked."""

    token: int
    """Id of what stands in their place."""
    share: float
    """Share of the tokens that are masked, each drawn by itself; a text's first one stays."""
    alone: bool
    """Whether nothing else is learned: states are then those of the masked texts, and unmasked ones are not read."""


def check_masked(model: TextModel) -> None:
    """Check that a model can be warmed up so.

    Raises:
        DataError: it attends causally, was never causal, or its output layer is not its table.
    """
    config, family = model.backbone.config, model.description.family
    if model.description.causal:
        raise DataError(
            f"masked_tokens: {family} attends causally, so nothing behind a masked token is seen. Set "
            "`backbone.attention: bidirectional` for the member."
        )
    if getattr(config, "is_causal", None) is not False:
        raise DataError(f"masked_tokens: {family} was made to read both ways; it needs no such warm-up. Leave it out.")
    if not config.tie_word_embeddings:
        raise DataError(f"masked_tokens: {family}'s output layer is not its embedding table, and is not loaded here.")


def draw_masked(lengths: Sequence[int], share: float, seed: int) -> Tensor:
    """Draw places of masked tokens [M], ascending; on the host.

    Args:
        lengths: tokens of each text.
        share: of them.
        seed: of the draw.
    """
    lengths_B = torch.tensor(lengths, dtype=torch.int64)
    chosen_N = torch.rand(int(lengths_B.sum()), generator=torch.Generator().manual_seed(seed)) < share
    chosen_N[lengths_B.cumsum(0) - lengths_B] = False
    return chosen_N.nonzero().flatten()


def fill_in(model: TextModel, tokens_N: Tensor, lengths: Sequence[int], masked: MaskedTokens, seed: int) -> Tensor:
    """Mask some tokens and score how well the model fills them in.

    Args:
        model: attends both ways.
        tokens_N: the texts one after another.
        lengths: tokens of each text.
        masked: how.
        seed: of the draw.

    Returns:
        Of each text its state, then its summed cross-entropy and the number of its masked tokens: [B, D + 2].
    """
    places_M = draw_masked(lengths, masked.share, seed)
    text_M = torch.repeat_interleave(torch.tensor(lengths))[places_M]
    device, count = tokens_N.device, len(lengths)
    places_M, text_M = send(places_M, device), send(text_M, device)
    hidden_ND = model.hidden_states(tokens_N.index_fill(0, places_M, masked.token), lengths)
    logits_MV = linear(hidden_ND[places_M - 1], model.backbone.get_input_embeddings().weight)
    precise = torch.promote_types(logits_MV.dtype, torch.float32)
    loss_M = cross_entropy(logits_MV.to(precise), tokens_N[places_M], reduction="none")
    columns_B2 = loss_M.new_zeros(count, COLUMNS)
    columns_B2 = columns_B2.index_add(0, text_M, torch.stack([loss_M, torch.ones_like(loss_M)], dim=1))
    state_BD = model.pool(hidden_ND, send(torch.tensor(lengths, dtype=torch.int64), device))
    return torch.cat([state_BD.to(precise), columns_B2], dim=1)
