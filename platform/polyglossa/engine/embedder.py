"""A backbone as the module that backends train: chunk in, raw pooled states out, in the stage's compute precision.

Weights stay in float32 (float64 in reference runs) and bf16 is autocast: the weights are their own master copy, and
gradients of all chunks add up in float32. On two Zen 4 cores autocast was as fast as bf16 weights (414 and 419 ms a
step at 4.5 M parameters, 6,120 tokens). Dropout is drawn from the chunk's own seed, so that a second pass replays it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from polyglossa.engine.attention import ATTENTION
from polyglossa.engine.batch import Chunk
from polyglossa.model.pooling import embed_chunk


class Embedder(nn.Module):
    """Embeds chunks with a backbone. Parameter names are the backbone's behind `backbone.`."""

    def __init__(self, backbone: PreTrainedModel, *, dtype: str) -> None:
        super().__init__()
        master = torch.float64 if dtype == "float64" else torch.float32
        self.backbone = backbone.to(master).train()
        self.backbone.config._attn_implementation = ATTENTION
        self.low_precision = dtype == "bfloat16"
        self.master = master

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, tokens_BL: Tensor, lengths_B: Tensor, seed: int) -> Tensor:
        """Return the raw states [B, D] in the weights' precision."""
        torch.manual_seed(seed)
        with torch.autocast(tokens_BL.device.type, dtype=torch.bfloat16, enabled=self.low_precision):
            state_BD = embed_chunk(self.backbone, tokens_BL, lengths_B)
        return state_BD.to(self.master)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout off for the time of the block."""
    module.eval()
    try:
        yield
    finally:
        module.train()


def inputs_of(chunk: Chunk) -> tuple[Tensor, Tensor, int]:
    """Return what `Embedder.forward` takes for a chunk."""
    return chunk.padded(), chunk.lengths_B.to(chunk.tokens.device), chunk.seed
