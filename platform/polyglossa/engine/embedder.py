"""A backbone as the module that backends train: packed texts in, raw pooled states out, in the stage's precision.

Weights stay in float32 (float64 in reference runs) and bf16 is autocast: the weights are their own master copy, and
gradients of all passes add up in float32. On a Zen 4 core autocast was as fast as bf16 weights (414 and 419 ms a step
at 4.5 M parameters, 6,120 tokens). Dropout is drawn from the pass's own seed, so that a second pass replays it.

N = tokens of the pass, B = its texts, D = width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from polyglossa.engine.attention import ATTENTION
from polyglossa.engine.batch import Chunk


class Embedder(nn.Module):
    """Embeds packed texts with a backbone. Parameter names are the backbone's behind `backbone.`."""

    def __init__(self, backbone: PreTrainedModel, *, dtype: str, exits: Sequence[int] = ()) -> None:
        """Set the backbone, its precision, and depths below the full one whose states are wanted too."""
        super().__init__()
        master = torch.float64 if dtype == "float64" else torch.float32
        self.backbone = backbone.to(master).train()
        self.backbone.config._attn_implementation = ATTENTION
        self.exits = tuple(exits)
        self.low_precision = dtype == "bfloat16"
        self.master = master

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, tokens_N: Tensor, lengths: Sequence[int], seed: int) -> Tensor:
        """Return each text's last state [B, D] in the weights' precision; with exits [B, X · D], the deepest last.

        Args:
            tokens_N: the texts one after another.
            lengths: tokens of each text.
            seed: of dropout.
        """
        torch.manual_seed(seed)
        lengths_B = torch.tensor(lengths, device=tokens_N.device)
        ends_B = lengths_B.cumsum(0)
        starts_N = (ends_B - lengths_B).repeat_interleave(lengths_B, output_size=len(tokens_N))
        places_N = torch.arange(len(tokens_N), device=tokens_N.device) - starts_N
        with torch.autocast(tokens_N.device.type, dtype=torch.bfloat16, enabled=self.low_precision):
            output = self.backbone(
                input_ids=tokens_N[None],
                position_ids=places_N[None],
                use_cache=False,
                text_lengths=lengths,
                output_hidden_states=bool(self.exits),
            )
            shallow = [self.backbone.norm(output.hidden_states[depth][0, ends_B - 1]) for depth in self.exits]
        return torch.cat([*shallow, output.last_hidden_state[0, ends_B - 1]], dim=1).to(self.master)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout off for the time of the block."""
    module.eval()
    try:
        yield
    finally:
        module.train()


def inputs_of(chunks: Sequence[Chunk]) -> tuple[Tensor, list[int], int]:
    """Return what `Embedder.forward` takes for chunks that are embedded in one pass."""
    lengths = [length for chunk in chunks for length in chunk.lengths_B.tolist()]
    return torch.cat([chunk.tokens for chunk in chunks]), lengths, chunks[0].seed
