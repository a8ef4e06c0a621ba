"""Embed texts that begin alike, the common beginning once: queries of a task share their instruction.

The backbone is causal, so the keys and values of a shared beginning do not depend on what follows; computed once, they
serve every text. Of a short query behind an instruction four fifths of the tokens are that instruction.

N = texts, B = texts of a chunk, L = tokens of its longest remainder, D = width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from polyglossa.model.chunks import chunk_by_tokens
from polyglossa.model.encoder import Encoder
from polyglossa.model.pooling import pad_chunk, reads_both_ways

_LEAST_TOKENS = 8  # a shorter beginning is not worth a cache
_LEAST_TEXTS = 16


def embed_texts(encoder: Encoder, texts: Sequence[str], *, chunk_tokens: int = 1024) -> Tensor:
    """Return the raw states [N, D] of rendered texts: `Encoder.states`, shared beginnings embedded once."""
    token_ids = encoder.tokenize(texts)
    if reads_both_ways(encoder.backbone.config):
        return encoder.states(token_ids, chunk_tokens=chunk_tokens)
    groups, rest = shared_beginnings(token_ids)
    state_ND = torch.zeros(len(texts), encoder.width)
    state_ND[rest] = encoder.states([token_ids[index] for index in rest], chunk_tokens=chunk_tokens)
    for shared, indices in groups:
        remainders = [token_ids[index][shared:] for index in indices]
        state_ND[indices] = states_behind(
            encoder.backbone, token_ids[indices[0]][:shared], remainders, chunk_tokens=chunk_tokens
        )
    return state_ND


def shared_beginnings(token_ids: Sequence[Sequence[int]]) -> tuple[list[tuple[int, list[int]]], list[int]]:
    """Group texts by a common beginning.

    Args:
        token_ids: tokens of each text, EOS last.

    Returns:
        Groups of (tokens shared, indices of the texts), and the indices of all other texts. At least one token of
        every text remains after the shared ones.
    """
    by_start: dict[tuple[int, ...], list[int]] = {}
    for index, tokens in enumerate(token_ids):
        by_start.setdefault(tuple(tokens[:_LEAST_TOKENS]), []).append(index)
    groups: list[tuple[int, list[int]]] = []
    rest: list[int] = []
    for start, indices in by_start.items():
        if len(indices) < _LEAST_TEXTS or len(start) < _LEAST_TOKENS:
            rest += indices
            continue
        # What the first and the last in order share, all share; the last token (EOS) is never among it.
        low, high = (pick(list(token_ids[index][:-1]) for index in indices) for pick in (min, max))
        shared = next(
            (at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(map(len, (low, high)))
        )
        groups.append((shared, indices))
    return groups, sorted(rest)


@torch.inference_mode()
def states_behind(
    backbone: PreTrainedModel, beginning: Sequence[int], remainders: Sequence[Sequence[int]], *, chunk_tokens: int
) -> Tensor:
    """Embed texts that share a beginning.

    Args:
        backbone: causal model in evaluation mode.
        beginning: the shared tokens.
        remainders: the other tokens of each text, EOS last, none empty.
        chunk_tokens: token budget of one forward pass, beginnings not counted.

    Returns:
        state_ND: raw pooled states, float32, on the CPU.
    """
    device = backbone.device
    known = DynamicCache(config=backbone.config)
    backbone(input_ids=torch.tensor([list(beginning)], device=device), past_key_values=known, use_cache=True)
    state_ND = torch.zeros(len(remainders), int(backbone.config.hidden_size))
    for chunk in chunk_by_tokens([len(tokens) for tokens in remainders], chunk_tokens):
        input_ids_BL, lengths_B = pad_chunk([remainders[index] for index in chunk])
        cache = DynamicCache(config=backbone.config)
        for index, layer in enumerate(known.layers):
            keys, values = (part.expand(len(chunk), -1, -1, -1) for part in (layer.keys, layer.values))
            cache.update(keys, values, index)
        hidden_BLD = backbone(
            input_ids=input_ids_BL.to(device), past_key_values=cache, use_cache=True
        ).last_hidden_state
        state_BD = hidden_BLD[torch.arange(len(chunk), device=device), (lengths_B - 1).to(device)]
        state_ND[torch.tensor(chunk)] = state_BD.float().cpu()
    return state_ND
