"""One training step on one rank: embed, gather, whole-batch loss, gradients. Torch only; ranks meet in collectives.

Every rank embeds its own chunks, gathers the text table and computes the loss of the whole global batch with its own
rows attached; the gradient that reaches them goes back through the passes that made them. Summed over ranks that is
the gradient of one process on the whole batch. Graphs of the last passes are kept as far as the budget goes; those
before them are embedded without a graph and once more for their backward (cached gradients, arXiv 2101.06983), so peak
memory does not depend on the batch size.

A chunk is the unit that is dealt to ranks; a pass embeds several at once. R = rows of this rank, T = rows of the text
table, D = width.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from polyglossa.data.batch import Chunk, RankBatch
from polyglossa.runtime.collectives import gather_rows_without_gradient

Objective = Callable[[Tensor, RankBatch], tuple[Tensor, dict[str, Tensor]]]


class Backend(Protocol):
    """What computes: a model whose gradients are summed over ranks, and its optimizer."""

    def embed(self, chunks: Sequence[Chunk]) -> Tensor:
        """Return the chunks' raw states, one after another [B, D], from one pass. A collective under ZeRO 3."""

    def backward(self, states: Sequence[Tensor], gradients: Sequence[Tensor], *, last: bool) -> None:
        """Add the states' vector-Jacobian products, summed over ranks; `last` closes the step. A collective."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Switch dropout off for the time of the block."""

    def update(self, learning_rate: float) -> float:
        """Clip by the global norm, step the optimizer, drop the gradients; return the norm before clipping."""


@dataclass(frozen=True)
class StepResult:
    """Figures of the whole global batch, equal on every rank."""

    loss: float
    terms: dict[str, float]
    spread: float
    """Mean cosine distance between two texts of the batch; about 0 when embeddings have collapsed to a point."""


@dataclass(frozen=True)
class Budget:
    """How a rank's chunks become passes, and how many graphs it keeps. Changes time and memory, never the gradient."""

    pass_tokens: int
    """Tokens of a pass, about; 1 runs every chunk alone, so that dropout is the same for any world size."""
    resident_tokens: int
    """Tokens of a rank whose graphs are kept for one backward; a batch of more takes the cached two passes."""

    def passes(self, batch: RankBatch) -> list[list[int]]:
        """Deal the rank's chunks to passes; equally many on every rank, from figures of the global batch alone."""
        chunks = len(batch.chunks)
        count = min(chunks, max(1, round(batch.tokens / (batch.world * self.pass_tokens))))
        return [list(range(first, chunks, count)) for first in range(count)]

    def groups(self, batch: RankBatch, passes: Sequence[list[int]]) -> list[Sequence[list[int]]]:
        """Group passes into those that share a backward; the first group may be smaller, the last is kept."""
        size = max(1, self.resident_tokens * len(passes) * batch.world // max(1, batch.tokens))
        first = len(passes) % size or min(size, len(passes))
        return [passes[:first], *(passes[start : start + size] for start in range(first, len(passes), size))]


def run_step(backend: Backend, batch: RankBatch, objective: Objective, *, budget: Budget) -> StepResult:
    """Accumulate the gradient of one global batch in the backend; `backend.update` is left to the caller.

    Args:
        backend: model and optimizer of this rank.
        batch: what this rank embeds, and the whole batch's examples.
        objective: (state_TD, batch) → loss of the whole batch and its terms, each a scalar.
        budget: sizes of passes and of what is kept.
    """
    *early, kept = budget.groups(batch, budget.passes(batch))
    with torch.no_grad():
        states = {tuple(one): _embed(backend, batch, one) for group in early for one in group}
    attached = [_embed(backend, batch, one) for one in kept]
    states |= {tuple(one): state.detach() for one, state in zip(kept, attached, strict=True)}
    result, gradient_RD = _loss(_own_rows(states, batch), batch, objective)
    del states
    gradients = _by_chunk(gradient_RD, batch)
    # The kept graphs go first: their memory is then free for the passes that run again.
    backend.backward(attached, _by_pass(gradients, kept), last=not early)
    del attached
    for number, group in enumerate(early, start=1):
        again = [_embed(backend, batch, one) for one in group]
        backend.backward(again, _by_pass(gradients, group), last=number == len(early))
    return result


@torch.no_grad()
def run_validation(backend: Backend, batch: RankBatch, objective: Objective, *, budget: Budget) -> StepResult:
    """Compute a batch's loss without training on it. A collective."""
    with backend.evaluating():
        table_TD = gather_states(backend.embed, batch, budget)
    loss, terms = objective(table_TD, batch)
    return _figures(loss, terms, table_TD)


def gather_states(embed: Callable[[Sequence[Chunk]], Tensor], batch: RankBatch, budget: Budget) -> Tensor:
    """Embed a batch without a graph and gather every rank's rows: the text table [T, D]. A collective.

    Args:
        embed: chunks → their states, one after another.
        batch: what this rank embeds.
        budget: sizes of passes.
    """
    with torch.no_grad():
        passes = budget.passes(batch)
        states = {tuple(one): embed([batch.chunks[chunk] for chunk in one]) for one in passes}
    return gather_rows_without_gradient(_pad_rows(_own_rows(states, batch), batch))[batch.gather_T]


def _embed(backend: Backend, batch: RankBatch, one_pass: Sequence[int]) -> Tensor:
    return backend.embed([batch.chunks[chunk] for chunk in one_pass])


def _loss(own_RD: Tensor, batch: RankBatch, objective: Objective) -> tuple[StepResult, Tensor]:
    """Compute the whole batch's loss, and its gradient for this rank's rows."""
    gathered_TD = gather_rows_without_gradient(_pad_rows(own_RD, batch))[batch.gather_T]
    own_RD.requires_grad_()
    table_TD = gathered_TD.index_copy(0, batch.own_R, own_RD)
    loss, terms = objective(table_TD, batch)
    (gradient_RD,) = torch.autograd.grad(loss, own_RD, allow_unused=True)
    result = _figures(loss, terms, gathered_TD)
    return result, torch.zeros_like(own_RD) if gradient_RD is None else gradient_RD


def _own_rows(states: Mapping[tuple[int, ...], Tensor], batch: RankBatch) -> Tensor:
    """Lay the chunks' states end to end, in the order of the chunks and without the dummies' ones."""
    rows: dict[int, Tensor] = {}
    for one_pass, state_BD in states.items():
        parts = state_BD.split([len(batch.chunks[chunk].lengths_B) for chunk in one_pass])
        rows |= dict(zip(one_pass, parts, strict=True))
    real = [rows[number] for number, chunk in enumerate(batch.chunks) if not chunk.dummy]
    return torch.cat(real) if real else rows[0][:0].clone()


def _pad_rows(own_RD: Tensor, batch: RankBatch) -> Tensor:
    """Give every rank as many rows."""
    return torch.nn.functional.pad(own_RD, (0, 0, 0, batch.rows_per_rank - len(own_RD)))


@torch.no_grad()
def _figures(loss: Tensor, terms: Mapping[str, Tensor], table_TD: Tensor) -> StepResult:
    """Fetch a step's figures from the device at once: it is waited for once, not once a figure."""
    scalars = [loss, *terms.values(), _squared_mean(table_TD)]
    total, *values, closeness = torch.stack([scalar.to(torch.float64) for scalar in scalars]).tolist()
    return StepResult(total, dict(zip(terms, values, strict=True)), 1.0 - closeness)


def mean_cosine_distance(state_TD: Tensor) -> float:
    """Return the mean cosine distance of two rows: 1 − ‖mean of the normalised rows‖²."""
    return 1.0 - float(_squared_mean(state_TD))


def _squared_mean(state_TD: Tensor) -> Tensor:
    return torch.nn.functional.normalize(state_TD.detach().float(), dim=1).mean(0).square().sum()


def _by_chunk(gradient_RD: Tensor, batch: RankBatch) -> list[Tensor]:
    """Deal the own rows' gradient to the chunks that made them; a dummy gets zeros."""
    sizes = [0 if chunk.dummy else len(chunk.lengths_B) for chunk in batch.chunks]
    parts = gradient_RD.split(sizes)
    zero = gradient_RD.new_zeros(1, gradient_RD.shape[1])
    return [zero if chunk.dummy else part for chunk, part in zip(batch.chunks, parts, strict=True)]


def _by_pass(gradients: Sequence[Tensor], group: Sequence[list[int]]) -> list[Tensor]:
    return [torch.cat([gradients[chunk] for chunk in one_pass]) for one_pass in group]
