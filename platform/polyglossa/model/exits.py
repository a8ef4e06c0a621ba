"""Layer exits: one pass gives the state that every shallower cut of the backbone would give (3-D Matryoshka's depth).

The exit after n layers goes through the backbone's own final norm, so the first n layers, kept by themselves, are a
stock model whose embedding is that exit's. X = exits, B = texts of a chunk, L = longest of them, D = width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from polyglossa.model.pooling import embed_chunk

_PUBLISHED = (1, 2, 4, 8, 16, 24, 32, 40, 48)


def exit_layers(layers: int) -> tuple[int, ...]:
    """Return the published exits (1, 2, 4, 8, 16, 24, 32, 40, 48) below the depth, and the depth itself."""
    return (*(depth for depth in _PUBLISHED if depth < layers), layers)


def embed_exits(backbone: PreTrainedModel, input_ids_BL: Tensor, lengths_B: Tensor, exits: Sequence[int]) -> Tensor:
    """Run a padded chunk through the backbone and take each text's last token at several depths.

    Args:
        backbone: causal model with `layers` and a final `norm`.
        input_ids_BL: token ids, padded on the right.
        lengths_B: tokens of each text.
        exits: numbers of layers, each within 1 … depth.

    Returns:
        state_XBD: raw states, differentiable, in the order of `exits`.

    Raises:
        ValueError: an exit is not within the backbone's depth.
    """
    depth = len(backbone.layers)
    wrong = [exit_ for exit_ in exits if not 1 <= exit_ <= depth]
    if wrong:
        raise ValueError(f"exits: {wrong[0]} is not within 1 … {depth}, the layers of the backbone")
    rows_B = torch.arange(len(lengths_B), device=input_ids_BL.device)
    with _listening([backbone.layers[exit_ - 1] for exit_ in exits]) as heard:
        embed_chunk(backbone, input_ids_BL, lengths_B)
    return torch.stack([backbone.norm(hidden_BLD[rows_B, lengths_B - 1]) for hidden_BLD in heard])


@contextmanager
def _listening(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the layers' outputs in order for the duration of the block."""
    heard: list[Tensor] = []

    def hear(module: nn.Module, arguments: Any, output: Any) -> None:
        heard.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(hear) for layer in layers]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()
