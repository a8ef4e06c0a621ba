"""From token ids to one state per text: a causal backbone's last token, or the mean token of one that reads both ways.

BERT-like encoders (XLM-R, MiniLM) read both ways: padding must be masked from them, and no token stands for the text by
training, so tokens are averaged, as the published sentence encoders of that kind do.

B = texts of a chunk, L = longest of them (tokens), D = width of the backbone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

BOTH_WAYS = ("bert", "roberta", "xlm-roberta")
"""Model types whose tokens see the whole text."""


def reads_both_ways(config: PretrainedConfig) -> bool:
    """Tell whether a backbone is BERT-like rather than causal."""
    return config.model_type in BOTH_WAYS


def first_position(config: PretrainedConfig) -> int:
    """Return the position id of a text's first token: RoBERTa counts from behind its padding id."""
    return int(config.pad_token_id) + 1 if config.model_type in ("roberta", "xlm-roberta") else 0


def pad_chunk(token_ids: Sequence[Sequence[int]], *, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Pad texts on the right to the longest of them.

    Args:
        token_ids: tokens of each text, none empty.
        padding: token id that fills; it is never attended to, so any id will do for a causal backbone.

    Returns:
        input_ids_BL and lengths_B, both int64.
    """
    lengths_B = torch.tensor([len(tokens) for tokens in token_ids])
    input_ids_BL = torch.full((len(token_ids), int(lengths_B.max())), padding)
    for row, tokens in enumerate(token_ids):
        input_ids_BL[row, : len(tokens)] = torch.as_tensor(tokens, dtype=torch.int64)
    return input_ids_BL, lengths_B


def embed_chunk(backbone: PreTrainedModel, input_ids_BL: Tensor, lengths_B: Tensor) -> Tensor:
    """Run a padded chunk through the backbone and take each text's last token, or mean token where it reads both ways.

    Padding lies on the right. Under causal attention no real token sees it: no mask is needed, which keeps the
    attention kernel on its fast causal path and the states equal to those of the text alone.

    Returns:
        state_BD: raw states, differentiable, in the backbone's dtype.
    """
    if reads_both_ways(backbone.config):
        places_L = torch.arange(input_ids_BL.shape[1], device=input_ids_BL.device)
        real_BL = places_L < lengths_B[:, None]
        positions_BL = (places_L + first_position(backbone.config)).expand_as(input_ids_BL)
        hidden_BLD = backbone(
            input_ids=input_ids_BL, attention_mask=real_BL.long(), position_ids=positions_BL
        ).last_hidden_state
        return (hidden_BLD * real_BL[..., None]).sum(1) / lengths_B[:, None]
    hidden_BLD = backbone(input_ids=input_ids_BL, use_cache=False).last_hidden_state
    rows_B = torch.arange(len(lengths_B), device=hidden_BLD.device)
    return hidden_BLD[rows_B, lengths_B - 1]
