"""One training step on one rank: embed, gather, whole-batch loss, gradients. Torch only; ranks meet in collectives.

Every rank embeds its own chunks, gathers the text table and computes the loss of the whole global batch with its own
rows attached; the gradient that reaches them goes back through the chunks that made them. Summed over ranks that is
the gradient of one process on the whole batch. Graphs of the last `resident_chunks` chunks are kept; chunks before
them are embedded without a graph and once more for their backward (cached gradients, arXiv 2101.06983), so peak memory
does not depend on the batch size.

R = rows of this rank, T = rows of the text table, D = width.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from polyglossa.collectives import gather_rows_without_gradient
from polyglossa.engine.batch import Chunk, RankBatch

Objective = Callable[[Tensor, RankBatch], tuple[Tensor, dict[str, Tensor]]]


class Backend(Protocol):
    """What computes: a model whose gradients are summed over ranks, and its optimizer."""

    def embed(self, chunk: Chunk) -> Tensor:
        """Return the chunk's raw states [B, D]; differentiable unless gradients are off. A collective under ZeRO 3."""

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


def run_step(backend: Backend, batch: RankBatch, objective: Objective, *, resident_chunks: int) -> StepResult:
    """Accumulate the gradient of one global batch in the backend; `backend.update` is left to the caller.

    Args:
        backend: model and optimizer of this rank.
        batch: what this rank embeds, and the whole batch's examples.
        objective: (state_TD, batch) → loss of the whole batch and its terms, each a scalar.
        resident_chunks: chunks whose graphs are kept for one backward; a batch of more takes the cached two passes.
    """
    groups = _groups(batch.chunks, resident_chunks)
    with torch.no_grad():
        states = [backend.embed(chunk) for group in groups[:-1] for chunk in group]
    attached = [backend.embed(chunk) for chunk in groups[-1]]
    states += attached
    result, gradient_RD = _loss(_own_rows(states, batch), batch, objective)
    gradients = iter(_by_group(groups, states, gradient_RD))
    del states
    # The kept graphs go first: their memory is then free for the chunks that are embedded again.
    early = [next(gradients) for _ in groups[:-1]]
    backend.backward(attached, next(gradients), last=not early)
    del attached
    for index, group in enumerate(groups[:-1]):
        again = [backend.embed(chunk) for chunk in group]
        backend.backward(again, early[index], last=index == len(early) - 1)
    return result


@torch.no_grad()
def run_validation(backend: Backend, batch: RankBatch, objective: Objective) -> StepResult:
    """Compute a batch's loss without training on it. A collective."""
    with backend.evaluating():
        states = [backend.embed(chunk) for chunk in batch.chunks]
    table_TD = gather_rows_without_gradient(_padded(_own_rows(states, batch), batch))[batch.gather_T]
    loss, terms = objective(table_TD, batch)
    return StepResult(float(loss), {name: float(term) for name, term in terms.items()}, spread(table_TD))


def _groups(chunks: Sequence[Chunk], size: int) -> list[Sequence[Chunk]]:
    """Cut chunks into groups of at most `size`; the same on every rank, which has equally many chunks."""
    return [chunks[start : start + size] for start in range(0, len(chunks), size)]


def _loss(own_RD: Tensor, batch: RankBatch, objective: Objective) -> tuple[StepResult, Tensor]:
    """Compute the whole batch's loss, and its gradient for this rank's rows."""
    gathered_TD = gather_rows_without_gradient(_padded(own_RD, batch))[batch.gather_T]
    own_RD.requires_grad_()
    table_TD = gathered_TD.index_copy(0, batch.own_R, own_RD)
    loss, terms = objective(table_TD, batch)
    (gradient_RD,) = torch.autograd.grad(loss, own_RD, allow_unused=True)
    figures = {name: float(term.detach()) for name, term in terms.items()}
    result = StepResult(float(loss.detach()), figures, spread(gathered_TD))
    return result, torch.zeros_like(own_RD) if gradient_RD is None else gradient_RD


def _own_rows(states: Sequence[Tensor], batch: RankBatch) -> Tensor:
    """Lay the chunks' states end to end, detached, without the dummies' ones."""
    real = [state.detach() for state, chunk in zip(states, batch.chunks, strict=True) if not chunk.dummy]
    return torch.cat(real) if real else states[0].detach()[:0]


def _padded(own_RD: Tensor, batch: RankBatch) -> Tensor:
    """Give every rank as many rows."""
    return torch.nn.functional.pad(own_RD, (0, 0, 0, batch.rows_per_rank - len(own_RD)))


def spread(state_TD: Tensor) -> float:
    """Return the mean cosine distance of two rows: 1 − ‖mean of the normalised rows‖²."""
    mean_D = torch.nn.functional.normalize(state_TD.detach().float(), dim=1).mean(0)
    return 1.0 - float(mean_D.square().sum())


def _by_group(groups: Sequence[Sequence[Chunk]], states: Sequence[Tensor], gradient_RD: Tensor) -> list[list[Tensor]]:
    """Deal the own rows' gradient to the chunks that made them; a dummy chunk gets zeros."""
    dealt, row, remaining = [], 0, iter(states)
    for group in groups:
        gradients = []
        for chunk in group:
            state_BD = next(remaining)
            if chunk.dummy:
                gradients.append(torch.zeros_like(state_BD))
            else:
                gradients.append(gradient_RD[row : row + len(state_BD)])
                row += len(state_BD)
        dealt.append(gradients)
    return dealt
