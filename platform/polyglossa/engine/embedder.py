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

from polyglossa.data.batch import Chunk
from polyglossa.model.forward import TextModel, fill_up
from polyglossa.model.variants.masked_tokens import COLUMNS, MaskedTokens, fill_in
from polyglossa.model.variants.norms import use_own_norms

PROJECTIONS = "projections."
"""What the names of learned maps into teachers' spaces begin with."""
TEMPERATURE = "log_temperature"
"""Name of the learned temperature's logarithm."""
WIDTH_WEIGHTS = "log_width_weights"
"""Name of the logarithms of the Matryoshka widths' learned weights."""
TRAINING_AIDS = (PROJECTIONS, WIDTH_WEIGHTS, TEMPERATURE)
"""What the names of parameters begin with that are trained and never exported."""


class Embedder(nn.Module):
    """Embeds packed texts with a model; parameters are named `backbone.…` and `dense.…`."""

    def __init__(
        self,
        model: TextModel,
        *,
        dtype: str,
        exits: Sequence[int] = (),
        projections: Sequence[int] = (),
        width_weights: Sequence[float] = (),
        masked: MaskedTokens | None = None,
        temperature: float | None = None,
        seed: int = 0,
    ) -> None:
        """Set what embeds.

        Args:
            model: backbone, pooling and dense layers.
            dtype: its precision.
            exits: depths below the full one whose states are wanted too; of models without dense layers.
            projections: widths of linear maps of the state that are learned beside it, into teachers' spaces.
            width_weights: where the learned weights of Matryoshka widths start; none learns none.
            masked: how tokens are masked, to be filled in; None masks none.
            temperature: where a learned one starts; None learns none.
            seed: of the maps' initial weights.

        Raises:
            ValueError: exits of a model whose states are more than its backbone's.
        """
        super().__init__()
        if exits and model.dense:
            raise ValueError("layer exits give the backbone's states, and this model has dense layers behind them")
        master = torch.float64 if dtype == "float64" else torch.float32
        self.backbone = model.backbone.to(master).train()
        self.dense = model.dense.to(master)
        use_own_norms(self.backbone)
        self._model = [model]  # in a list, so that its parameters are not registered twice
        self.exits = tuple(exits)
        self.projections = nn.ModuleList(_projection(model.description.width, width, seed) for width in projections)
        self.projections.to(master)
        if width_weights:
            self.log_width_weights = nn.Parameter(torch.tensor(width_weights, dtype=master).log())
        self.learns_width_weights = bool(width_weights)
        self.masked = masked
        if temperature is not None:
            self.log_temperature = nn.Parameter(torch.tensor([math.log(temperature)], dtype=master))
        self.learns_temperature = temperature is not None
        self.low_precision = dtype == "bfloat16"
        self.master = master

    @property
    def model(self) -> TextModel:
        """What embeds."""
        return self._model[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, tokens_N: Tensor, lengths: Sequence[int], seed: int) -> Tensor:
        """Return each text's state [B, D] in the weights' precision; with exits [B, X · D], the deepest last.

        Projections of the state, where there are any, stand behind it; then a column for each learned weight of a
        width (its logarithm), two of masked tokens (each text's loss and how many they are), and last of all one for
        the learned temperature (its logarithm). As columns they need nothing of their own from ranks, passes and ZeRO:
        the loss reads sums or means over all texts, so the rows' gradients add up to the parameters'.

        Args:
            tokens_N: the texts one after another.
            lengths: tokens of each text.
            seed: of dropout.
        """
        torch.manual_seed(seed)
        texts = len(lengths)
        real = tokens_N, lengths
        if self.low_precision and self.model.description.packed:
            tokens_N, lengths = fill_up(tokens_N, lengths)
        # Every weight is used once a pass, so a cache of their bfloat16 copies saves nothing, and under ZeRO 3 it would
        # keep a copy of the whole model that each rank has split (26 GB for 14B).
        with torch.autocast(
            tokens_N.device.type, dtype=torch.bfloat16, enabled=self.low_precision, cache_enabled=False
        ):
            filled_BF = None if self.masked is None else fill_in(self.model, *real, self.masked, seed)
            if filled_BF is not None and self.masked is not None and self.masked.alone:
                parts = [filled_BF[:, :-COLUMNS]]
            else:
                every = self.model.every_state(tokens_N, lengths, depths=self.exits)
                parts = [state_BD[:texts] for state_BD in every]
            parts += [projection(parts[-1]) for projection in self.projections]
        columns = [self.log_width_weights.expand(texts, -1)] if self.learns_width_weights else []
        columns += [] if filled_BF is None else [filled_BF[:, -COLUMNS:]]
        columns += [self.log_temperature.expand(texts, 1)] if self.learns_temperature else []
        return torch.cat([part.to(self.master) for part in (*parts, *columns)], dim=1)


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
