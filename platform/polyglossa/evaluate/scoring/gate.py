"""The promotion gate: whether a member may take over an alias. Pure: summaries in, reasons out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from polyglossa.recipe.sections.evaluate import GateConfig

Summary = Mapping[str, Any]


@dataclass(frozen=True)
class GateOutcome:
    """Whether the gate holds; if not, why."""

    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against promotion."""
        return not self.reasons


def check_gate(
    config: GateConfig | None,
    summary: Summary,
    current: Summary | None = None,
    starts: Mapping[str, Summary] | None = None,
) -> GateOutcome:
    """Check a member against the gate of its recipe.

    Args:
        config: the gate; None lets every member pass.
        summary: evaluation of the member.
        current: evaluation of the model that the alias names now, if there is one.
        starts: by task of one's own data, evaluation of the model that the member started from.
    """
    return GateOutcome(tuple(_objections(config, summary, current, starts or {})) if config is not None else ())


def _objections(
    config: GateConfig, summary: Summary, current: Summary | None, starts: Mapping[str, Summary]
) -> Iterator[str]:
    tasks: Mapping[str, Mapping[str, Any]] = summary["tasks"]
    for task, reason in summary["failed"].items():
        yield f"{task} was not judged: {reason}"
    if not tasks:
        yield "no task was judged"
        return
    if config.mean is not None and summary["mean"] < config.mean:
        yield f"mean {summary['mean']:.4f} is below {config.mean}"
    if config.worst_language is not None:
        worst = (
            (score, name, task) for task, figures in tasks.items() for name, score in figures["by_language"].items()
        )
        score, name, task = min(worst)
        if score < config.worst_language:
            yield f"{name} scores {score:.4f} on {task}, below {config.worst_language}"
    if config.half_width_keeps is not None:
        yield from _narrow(config.half_width_keeps, tasks, summary["dim"])
    if config.largest_loss is not None and current is not None:
        yield from _losses(config.largest_loss, tasks, current["tasks"])
    if config.gain is not None:
        yield from _gains(config.gain, tasks, starts)


def _gains(least: float, tasks: Mapping[str, Mapping[str, Any]], starts: Mapping[str, Summary]) -> Iterator[str]:
    for task, start in starts.items():
        before = start["tasks"].get(task)
        if before is None or task not in tasks:
            yield f"{task} was not judged for both this model and the one that it started from"
        elif tasks[task]["mean"] - before["mean"] <= least:
            gain = tasks[task]["mean"] - before["mean"]
            yield f"{task}: {gain:+.4f} against the model that it started from, not above {least}"


def _narrow(least: float, tasks: Mapping[str, Mapping[str, Any]], dim: int) -> Iterator[str]:
    for task, figures in tasks.items():
        half, full = figures["widths"].get(str(dim // 2)), figures["widths"].get(str(dim))
        if half is not None and full and half / full < least:
            yield f"{task}: half the width keeps {half / full:.1%}, below {least:.1%}"


def _losses(
    most: float, tasks: Mapping[str, Mapping[str, Any]], current: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    for task, figures in current.items():
        if task not in tasks:
            yield f"{task} was judged for the current model and not for this one"
        elif figures["mean"] - tasks[task]["mean"] > most:
            loss = figures["mean"] - tasks[task]["mean"]
            yield f"{task}: loses {loss:.4f} against the current model, more than {most}"
