"""Hold what a rank receives for one step: its own chunks of text, and the whole batch's examples as indices.

Torch and the standard library only, so the step runs and is timed without Ray or Arrow. Every rank holds the index
tensors of the global batch because every rank computes the whole-batch loss on gathered states.

Legend: T distinct texts of the global batch, Q examples, N chosen negatives, R table rows of this rank, B texts of a
chunk, L its longest text, E the teacher's width.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from polyglossa.runtime.transfer import send


@dataclass(frozen=True)
class Chunk:
    """Texts that go through the model in one forward pass."""

    tokens: Tensor
    """int64 [sum of lengths]: the texts one after another, EOS last of each."""
    lengths_B: Tensor
    """int64 [B], each ≥ 1; always on the host, where layouts are decided."""
    start: int
    """First row of the text table that the chunk fills; -1 for a dummy."""
    seed: int
    """63-bit seed of the chunk's dropout: the same for every world size."""
    dummy: bool
    """One token that only keeps the ranks in step: its state enters nothing, its gradient is zero."""

    def padded(self) -> Tensor:
        """Lay the texts out as int64 [B, L], padded with 0 on the right."""
        rows = list(torch.split(self.tokens, self.lengths_B.tolist()))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


@dataclass(frozen=True)
class RankBatch:
    """One step of one rank. Index tensors address the text table of the global batch."""

    step: int
    rank: int
    world: int
    source: str
    """The batch's source, or `pool/<task>` for several small sources and tails."""
    task: str
    in_batch: bool
    """Whether the other examples' positives are negatives (retrieval, bitext)."""
    chunks: tuple[Chunk, ...]
    """As many on every rank."""
    texts: int
    """T, rows of the text table."""
    rows_per_rank: int
    """Rows that each rank pads its states to before gathering."""
    gather_T: Tensor
    """int64 [T]: position of a table row in the rank-major gathered [world × rows_per_rank]."""
    own_R: Tensor
    """int64 [R]: table rows of this rank, in the order of its concatenated chunks without the dummies."""
    query_Q: Tensor
    positive_Q: Tensor
    negatives_QN: Tensor
    """int64 [Q, N], -1 where a row has no more negatives."""
    group_Q: Tensor
    """int64: rows of one group are never each other's negatives; unique across sources."""
    source_Q: Tensor
    """int64: number of the row's source; in a pooled batch other sources are masked under `known`."""
    positive_score_Q: Tensor
    """float32: the miner's score of the positive, NaN where not mined."""
    score_Q: Tensor | None
    """float32: the pair's own score (task `sts`), NaN where it has none; None where the stage reads none."""
    teacher_TE: Tensor | None
    """[T, E], float16 as stored: raw states of the teachers, each cut to its width, side by side; in table order."""
    tokens: int
    """Tokens of the global batch."""
    padded_tokens: int
    """Tokens of the global batch with every chunk padded to its longest text."""
    wait_seconds: float = 0.0
    """How long the rank waited for this batch."""
    candidate_score_QC: Tensor | None = None
    """float32 [Q, 1 + N]: what a cross-encoder or a judge gave the positive and the chosen negatives, NaN where it gave
    nothing; None where mining did not re-score."""

    host: "RankBatch | None" = None
    """The same batch before it moved to a GPU: what decides about shapes is read there, where nobody waits for it."""

    @property
    def on_host(self) -> "RankBatch":
        """The batch with its tensors on the host."""
        return self.host or self

    def to(self, device: torch.device | str) -> "RankBatch":
        """Move every tensor that the step reads to a device; tokens and indices travel in one copy."""
        held = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        if self.own_R.device.type == torch.device(device).type:
            return self
        indices = [name for name, value in held.items() if value.dtype == torch.int64]
        flat = torch.cat([*(chunk.tokens for chunk in self.chunks), *(held[name].flatten() for name in indices)])
        sizes = [*(len(chunk.tokens) for chunk in self.chunks), *(held[name].numel() for name in indices)]
        parts = iter(send(flat, device).split(sizes))
        chunks = tuple(replace(chunk, tokens=next(parts)) for chunk in self.chunks)
        moved: dict[str, Any] = {
            name: next(parts).view(value.shape) if name in indices else send(value, device)
            for name, value in held.items()
        }
        return replace(self, chunks=chunks, host=self.on_host, **moved)
