"""A backbone as the module that backends train: packed texts in, raw pooled states out, in the stage's precision.

Weights stay in float32 (float64 in reference runs) and bf16 is autocast: the weights are their own master copy, and
gradients of all passes add up in float32. On a Zen 4 core autocast was as fast as bf16 weights (414 and 419 ms a step
at 4.5 M parameters, 6,120 tokens). Dropout is drawn from the pass's own seed, so that a second pass replays it.

N = tokens of the pass, B = its texts, D = width.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from polyglossa.engine.attention import ATTENTION
from polyglossa.engine.batch import Chunk
from polyglossa.engine.norms import use_own_norms
from polyglossa.model.pooling import first_position, reads_both_ways

# On a CPU a pass is filled up to a multiple of these tokens: oneDNN keeps a kernel for every size that it has met, and
# 1,200 passes of any size held 0.9 GiB and ran at 5.5 µs a token where even ones held 0.1 GiB and took 4.4 µs.
_EVEN_TOKENS = 64

PROJECTIONS = "projections."
"""What the names of learned maps into teachers' spaces begin with."""
TEMPERATURE = "log_temperature"
"""Name of the learned temperature's logarithm."""
TRAINING_AIDS = (PROJECTIONS, TEMPERATURE)
"""What the names of parameters begin with that are trained and never exported."""


class Embedder(nn.Module):
    """Embeds packed texts with a backbone. Parameter names are the backbone's behind `backbone.`."""

    def __init__(
        self,
        backbone: PreTrainedModel,
        *,
        dtype: str,
        exits: Sequence[int] = (),
        projections: Sequence[int] = (),
        temperature: float | None = None,
        seed: int = 0,
    ) -> None:
        """Set what embeds.

        Args:
            backbone: the model.
            dtype: its precision.
            exits: depths below the full one whose states are wanted too.
            projections: widths of linear maps of the state that are learned beside it, into teachers' spaces.
            temperature: where a learned one starts; None learns none.
            seed: of the maps' initial weights.
        """
        super().__init__()
        master = torch.float64 if dtype == "float64" else torch.float32
        self.backbone = backbone.to(master).train()
        self.backbone.config._attn_implementation = ATTENTION
        use_own_norms(self.backbone)
        self.exits = tuple(exits)
        self.projections = nn.ModuleList(_projection(backbone.config.hidden_size, width, seed) for width in projections)
        self.projections.to(master)
        if temperature is not None:
            self.log_temperature = nn.Parameter(torch.tensor([math.log(temperature)], dtype=master))
        self.learns_temperature = temperature is not None
        self.low_precision = dtype == "bfloat16"
        self.master = master

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, tokens_N: Tensor, lengths: Sequence[int], seed: int) -> Tensor:
        """Return each text's state [B, D] in the weights' precision; with exits [B, X · D], the deepest last.

        Projections of the state, where there are any, stand behind it; last of all a column with the logarithm of the
        learned temperature. As a column it needs nothing of its own from ranks, passes and ZeRO: the loss reads its
        mean over all texts, so the rows' gradients add up to the parameter's.

        Args:
            tokens_N: the texts one after another.
            lengths: tokens of each text.
            seed: of dropout.
        """
        torch.manual_seed(seed)
        texts = len(lengths)
        if tokens_N.device.type == "cpu" and self.low_precision and (missing := -len(tokens_N) % _EVEN_TOKENS):
            # A last text of filler: no state of it is taken, so it gets no gradient.
            tokens_N, lengths = nn.functional.pad(tokens_N, (0, missing)), [*lengths, missing]
        lengths_B = torch.tensor(lengths, device=tokens_N.device)
        ends_B = lengths_B.cumsum(0)
        starts_N = (ends_B - lengths_B).repeat_interleave(lengths_B, output_size=len(tokens_N))
        lasts_B = ends_B[:texts] - 1
        places_N = torch.arange(len(tokens_N), device=tokens_N.device) - starts_N
        places_N = places_N.clamp_max(max(lengths[:texts]) - 1) + first_position(self.backbone.config)
        with torch.autocast(tokens_N.device.type, dtype=torch.bfloat16, enabled=self.low_precision):
            output = self.backbone(
                input_ids=tokens_N[None],
                position_ids=places_N[None],
                use_cache=False,
                text_lengths=lengths,
                output_hidden_states=bool(self.exits),
            )
            shallow = [self.backbone.norm(output.hidden_states[depth][0, lasts_B]) for depth in self.exits]
            if reads_both_ways(self.backbone.config):
                state_BD = _means(output.last_hidden_state[0], lengths_B)[:texts]
            else:
                state_BD = output.last_hidden_state[0, lasts_B]
            projected = [projection(state_BD) for projection in self.projections]
        columns = [self.log_temperature.expand(texts, 1)] if self.learns_temperature else []
        return torch.cat([part.to(self.master) for part in (*shallow, state_BD, *projected, *columns)], dim=1)


def _means(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Average the tokens of each text: [B, D]."""
    text_N = torch.arange(len(lengths_B), device=hidden_ND.device).repeat_interleave(
        lengths_B, output_size=len(hidden_ND)
    )
    sum_BD = hidden_ND.new_zeros(len(lengths_B), hidden_ND.shape[1]).index_add(0, text_N, hidden_ND)
    return sum_BD / lengths_B[:, None]


def _projection(hidden: int, width: int, seed: int) -> nn.Linear:
    """Make a map that keeps lengths at first, the same on every rank."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(hidden, width, bias=False)
        nn.init.orthogonal_(linear.weight)
    return linear


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
