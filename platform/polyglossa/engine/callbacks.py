"""Callbacks around a step: guards, the metrics log, checkpoints and progress. None of them knows of Ray."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from polyglossa.data.batch import RankBatch
from polyglossa.engine.checkpoints import checkpoint
from polyglossa.engine.loop import Callback, StepRecord
from polyglossa.engine.step import Backend, Budget, Objective, StepResult, run_validation
from polyglossa.errors import TrainingError


class DivergedError(TrainingError):
    """The run cannot go on: raised on every rank at the same step, and the same again if it is repeated."""


class Guard(Callback):
    """Stops a run whose loss is not finite or whose embeddings have collapsed; warns of batches that teach nothing."""

    def __init__(self, warn: Callable[[str], None], *, smallest_spread: float = 1e-5, patience: int = 20) -> None:
        """Set the limits.

        Args:
            warn: tells the person something that training goes on from.
            smallest_spread: mean cosine distance of two texts below which embeddings count as collapsed.
            patience: consecutive steps of a bad state that are borne.
        """
        self._warn, self._smallest_spread, self._patience = warn, smallest_spread, patience
        self._collapsed = self._starved = 0

    def before_update(self, batch: RankBatch, result: StepResult) -> None:
        """Refuse a loss that would spoil the weights."""
        where = f"step {batch.step}, source {batch.source}"
        if batch.in_batch and not batch.negatives_QN.shape[1] and len(batch.on_host.group_Q.unique()) == 1:
            self._warn(f"{where}: every example is of one group, so the batch has no negatives and teaches nothing.")
        if not math.isfinite(result.loss):
            terms = ", ".join(f"{name} {value:g}" for name, value in result.terms.items())
            raise DivergedError(f"{where}: the loss is {result.loss} ({terms}). Lower training.*.learning_rate.")
        self._collapsed = self._collapsed + 1 if result.spread < self._smallest_spread else 0
        if self._collapsed > self._patience:
            raise DivergedError(
                f"{where}: embeddings have collapsed, all texts of {self._collapsed} batches lie within a cosine "
                f"distance of {result.spread:.1e}. Lower training.*.learning_rate or check the data."
            )

    def after_step(self, record: StepRecord) -> None:
        """Refuse to go on from weights that an infinite gradient has spoiled."""
        if not math.isfinite(record.grad_norm):
            raise DivergedError(
                f"step {record.step}, source {record.source}: the gradient's norm is {record.grad_norm}. "
                "Lower training.*.learning_rate."
            )
        self._starved = self._starved + 1 if record.data_wait > 0.5 * record.seconds else 0
        if self._starved == self._patience:
            self._warn(
                f"step {record.step}, source {record.source}: {self._starved} steps waited for data more than half of "
                "their time. Give the feed more CPUs, or faster storage."
            )


class MetricsLog(Callback):
    """Keeps every step's figures until `flush` writes them beside the checkpoints."""

    def __init__(self, root: str, *, writes: bool, **figures: Any) -> None:
        """Set where segments go, and what every step's figures begin with; only one rank `writes`."""
        self._root, self._writes, self._records = root, writes, list[dict[str, Any]]()
        self._figures = figures
        self.last: dict[str, Any] = {}
        """The last step's figures, on every rank; a validation's where one was made after it."""

    def after_step(self, record: StepRecord) -> None:
        """Remember the figures."""
        self.last = {**self._figures, **record.plain()}
        if self._writes:
            self._records.append(self.last)

    def flush(self) -> None:
        """Write what has gathered as one segment."""
        if self._records:
            checkpoint.write_metrics(self._root, self._records[0]["step"], self._records)
            self._records.clear()

    def add(self, **figures: Any) -> None:
        """Add figures to the last step's."""
        self.last |= figures


class Validation(Callback):
    """Computes the loss of each task's validation rows every so many steps."""

    def __init__(
        self,
        backend: Backend,
        objective: Objective,
        batches: Callable[[], Iterable[RankBatch]],
        log: MetricsLog,
        *,
        budget: Budget,
        every: int,
        validated: Callable[[int, float], None] = lambda done, loss: None,
    ) -> None:
        """Set what is validated.

        Args:
            backend: the model.
            objective: loss of a batch.
            batches: gives one pass over the validation rows.
            log: gets the losses.
            budget: sizes of passes.
            every: steps between validations.
            validated: gets (steps done, mean over tasks).
        """
        self._validated = validated
        self._budget = budget
        self._backend, self._objective, self._batches = backend, objective, batches
        self._log, self._every = log, every

    def after_step(self, record: StepRecord) -> None:
        """Validate when it is time."""
        if (record.step + 1) % self._every == 0:
            losses = self.losses()
            self._log.add(validation=losses)
            if losses:
                self._validated(record.step + 1, sum(losses.values()) / len(losses))

    def losses(self) -> dict[str, float]:
        """Return the mean loss of an example by task. A collective."""
        total: dict[str, float] = {}
        rows: dict[str, int] = {}
        for batch in self._batches():
            count = len(batch.query_Q)
            loss = run_validation(self._backend, batch, self._objective, budget=self._budget).loss
            total[batch.task] = total.get(batch.task, 0.0) + loss * count
            rows[batch.task] = rows.get(batch.task, 0) + count
        return {task: total[task] / rows[task] for task in total}


class Checkpoints(Callback):
    """Saves when it is due and when a node is about to leave."""

    def __init__(
        self,
        writer: checkpoint.Writer,
        backend: checkpoint.Checkpointed,
        log: MetricsLog,
        *,
        due: Callable[[int], bool],
        leaving: Callable[[int], bool],
        report: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Set what is saved.

        Args:
            writer: writes checkpoints.
            backend: the model.
            log: flushed with each checkpoint.
            due: steps done → whether to save now, the same on every rank.
            leaving: steps done → whether a node is about to leave, the same on every rank.
            report: gets the steps done of each checkpoint, on every rank.
        """
        self._writer, self._backend, self._log = writer, backend, log
        self._due, self._leaving, self._report = due, leaving, report

    def after_step(self, record: StepRecord) -> None:
        """Save when it is time."""
        done = record.step + 1
        if self._leaving(done) or self._due(done):
            self._log.flush()
            self._writer.save(done, self._backend)
            self._report(done)


class Progress(Callback):
    """Reports how far the run is."""

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        """Register the function that receives reports: (steps done, short text)."""
        self._tell = tell
        self._loss = math.nan

    def after_step(self, record: StepRecord) -> None:
        """Report the steps done and a smoothed loss."""
        self._loss = record.loss if math.isnan(self._loss) else 0.9 * self._loss + 0.1 * record.loss
        self._tell(record.step + 1, f"loss {self._loss:.3f}  {record.tokens / max(record.seconds, 1e-9):,.0f} tokens/s")
