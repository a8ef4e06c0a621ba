"""The training loop: batches in, updates out. What varies is passed in (objective, backend, callbacks)."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from polyglossa.data.batch import RankBatch
from polyglossa.engine.step import Backend, Budget, Objective, StepResult, run_step
from polyglossa.model.attention.products import attention_slots


@dataclass(frozen=True)
class StepRecord:
    """Figures of one finished step; those of time are this rank's, the others the whole batch's."""

    step: int
    source: str
    loss: float
    terms: dict[str, float]
    learning_rate: float
    grad_norm: float
    """Global norm before clipping."""
    spread: float
    """Mean cosine distance of two texts of the batch."""
    examples: int
    texts: int
    tokens: int
    padding: float
    """Share of this rank's attention slots that hold padding or dummies; no other layer pads."""
    seconds: float
    """From the end of the step before to the end of this one."""
    data_wait: float
    """Seconds of them spent waiting for the batch."""

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


Slots = Callable[[Sequence[int]], int]
"""Tokens of each text of a pass → token slots that attention computes for them."""


def _padding(batch: RankBatch, budget: Budget, slots: Slots) -> float:
    lengths = [chunk.lengths_B.tolist() for chunk in batch.chunks]
    tokens = sum(sum(own) for own, chunk in zip(lengths, batch.chunks, strict=True) if not chunk.dummy)
    passes = [[length for chunk in one_pass for length in lengths[chunk]] for one_pass in budget.passes(batch)]
    return 1.0 - tokens / sum(map(slots, passes))


class Callback:
    """Something that happens around a step, in the order of the list, on every rank; by default nothing does."""

    def before_update(self, batch: RankBatch, result: StepResult) -> None:
        """Act on the gradient, while the weights are still the old ones."""

    def after_step(self, record: StepRecord) -> None:
        """Act on the updated weights."""


def run_loop(
    backend: Backend,
    batches: Iterable[RankBatch],
    objective: Objective,
    *,
    rate: Callable[[int], float],
    budget: Budget,
    callbacks: Sequence[Callback] = (),
    slots: Slots = attention_slots,
) -> None:
    """Train on every batch in turn.

    Args:
        backend: model and optimizer of this rank.
        batches: this rank's batches, in the order of their steps.
        objective: loss of the whole batch.
        rate: step → learning rate.
        budget: sizes of passes and of what is kept.
        callbacks: called in order.
        slots: what attention computes of a pass; `sum` where a kernel pads nothing.
    """
    began = time.perf_counter()
    for batch in batches:
        result = run_step(backend, batch, objective, budget=budget)
        for callback in callbacks:
            callback.before_update(batch, result)
        learning_rate = rate(batch.step)
        norm = backend.update(learning_rate)
        now = time.perf_counter()
        record = StepRecord(
            step=batch.step,
            source=batch.source,
            loss=result.loss,
            terms=result.terms,
            learning_rate=learning_rate,
            grad_norm=norm,
            spread=result.spread,
            examples=len(batch.query_Q),
            texts=batch.texts,
            tokens=batch.tokens,
            padding=_padding(batch, budget, slots),
            seconds=now - began,
            data_wait=batch.wait_seconds,
        )
        for callback in callbacks:
            callback.after_step(record)
        began = now
