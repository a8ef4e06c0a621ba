"""What became of tasks and of runs: errors that a person reads, and losses that are nobody's mistake."""

import sys
from collections.abc import Mapping
from typing import Any

import ray

from polyglossa.errors import PolyglossaError, UserError
from polyglossa.pipeline.concurrent.node_task import Outcome

_WITH_ITS_MACHINE = (
    ray.exceptions.NodeDiedError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.ObjectLostError,  # the task had ended, and its answer was still there
)


class NodesFailed(PolyglossaError):
    """Several nodes failed."""


class NodesRefused(UserError):
    """Several nodes failed, each by the user's mistake."""


def outcome_of(reference: Any) -> Outcome:
    """Read how a task that is over has ended, whatever ended it."""
    try:
        outcome: Outcome = ray.get(reference)
        return outcome
    except _WITH_ITS_MACHINE as lost:
        return Outcome("", error=describe_loss(lost), trace=str(lost), lost="machine")
    except ray.exceptions.WorkerCrashedError as lost:
        return Outcome("", error=describe_loss(lost), trace=str(lost), lost="driver")
    except ray.exceptions.RayError as error:
        return Outcome("", error=describe_loss(error), trace=str(error))


def describe_loss(error: Exception) -> PolyglossaError:
    """Say in one line how a task ended that told nothing itself."""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return PolyglossaError("its driver took more memory than its machine had, and Ray ended it; the log has more.")
    if isinstance(error, ray.exceptions.TaskCancelledError | ray.exceptions.WorkerCrashedError):
        return PolyglossaError("its driver was ended from outside; run the same command again: it goes on.")
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return PolyglossaError(f"{type(error).__name__}: {lines[-1][:300]}")


def failure_of_run(failed: Mapping[str, PolyglossaError], left: int) -> PolyglossaError:
    """Sum up a run: a line for each failed node; the exit code is 2 where each is the user's mistake.

    Args:
        failed: errors by node; at least one.
        left: nodes that were neither made nor failed.
    """
    lines = [f"{name}: {error}" for name, error in failed.items()]
    if len(lines) == 1 and not left:
        (error,) = failed.values()
        return type(error)(lines[0])
    if left:
        lines.append(f"{left} more were not made: they need what failed, or the run was stopped.")
    mistakes = all(isinstance(error, UserError) for error in failed.values())
    return (NodesRefused if mistakes else NodesFailed)("\n".join(lines))


def log_trace(trace: str) -> None:
    """Keep the whole story of a failure where other libraries' output goes."""
    if trace:
        sys.stderr.write(f"{trace.rstrip()}\n")
        sys.stderr.flush()
