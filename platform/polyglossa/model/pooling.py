"""From token ids to one state per text: the last token's final hidden state of a causal backbone.

B = texts of a chunk, L = longest of them (tokens), D = width of the backbone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel


def pad_chunk(token_ids: Sequence[Sequence[int]], *, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Pad texts on the right to the longest of them.

    Args:
        token_ids: tokens of each text, none empty.
        padding: token id that fills; it is never attended to, so any id will do.

    Returns:
        input_ids_BL and lengths_B, both int64.
    """
    lengths_B = torch.tensor([len(tokens) for tokens in token_ids])
    input_ids_BL = torch.full((len(token_ids), int(lengths_B.max())), padding)
    for row, tokens in enumerate(token_ids):
        input_ids_BL[row, : len(tokens)] = torch.as_tensor(tokens, dtype=torch.int64)
    return input_ids_BL, lengths_B


def embed_chunk(backbone: PreTrainedModel, input_ids_BL: Tensor, lengths_B: Tensor) -> Tensor:
    """Run a padded chunk through the backbone and take each text's last token.

    Padding lies on the right and attention is causal, so no real token sees it: no mask is needed, which keeps the
    attention kernel on its fast causal path and the states equal to those of the text alone.

    Returns:
        state_BD: raw states, differentiable, in the backbone's dtype.
    """
    hidden_BLD = backbone(input_ids=input_ids_BL, use_cache=False).last_hidden_state
    rows_B = torch.arange(len(lengths_B), device=hidden_BLD.device)
    return hidden_BLD[rows_B, lengths_B - 1]
