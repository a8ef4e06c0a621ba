"""Forward passes of a replica: texts lie one after another, so no layer computes padding, and short texts share a pass.

The attention is training's (`polyglossa.engine.attention`): torch's variable-length kernel on a GPU in bfloat16, matrix
products over neighbours of like length on CPUs. The states are the encoder's; the endpoint's tests hold them to it.

N = tokens of a pass, B = its texts, D = width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from polyglossa.engine.attention import ATTENTION


def cut_passes(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut texts into passes, neighbours being of like length.

    Args:
        lengths: tokens of each text.
        budget: most tokens of a pass; a longer text is a pass of its own.

    Returns:
        Passes of indices into `lengths`, longest texts first.
    """
    passes: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if lengths[index] > room:
            passes.append([])
            room = budget
        passes[-1].append(index)
        room -= lengths[index]
    return passes


def use_packed_attention(backbone: PreTrainedModel) -> None:
    """Make a backbone take packed texts, from now on nothing else."""
    backbone.config._attn_implementation = ATTENTION


@torch.inference_mode()
def embed_packed(backbone: PreTrainedModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """Embed tokenised texts in one pass.

    Args:
        backbone: after `use_packed_attention`.
        texts: tokens of each text, EOS last.

    Returns:
        state_BD: raw states, float32, on the CPU.
    """
    device = backbone.device
    lengths = [len(text) for text in texts]
    tokens_N = torch.tensor([token for text in texts for token in text], device=device)
    places_N = torch.cat([torch.arange(length) for length in lengths]).to(device)
    ends_B = torch.tensor(lengths, device=device).cumsum(0)
    hidden_1ND = backbone(
        input_ids=tokens_N[None], position_ids=places_N[None], use_cache=False, text_lengths=lengths
    ).last_hidden_state
    return hidden_1ND[0, ends_B - 1].float().cpu()
