"""Two models on the same tasks: what was won, what was lost, and which differences are more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.table import Table
from rich.text import Text

from polyglossa.artifact import Artifact
from polyglossa.errors import DataError
from polyglossa.evaluate.scoring.outcome import read_samples
from polyglossa.evaluate.scoring.statistics import Paired, paired_test

_SIGNIFICANT = 0.05
_CELLS = 24  # width of the drawn balance of wins and losses


@dataclass(frozen=True)
class TaskComparison:
    """One task, judged for both models."""

    task: str
    type: str
    first: float
    second: float
    test: Paired | None
    """None where the task's score is no mean over samples."""
    languages: Mapping[str, float]
    """First minus second by language."""

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first - self.second

    @property
    def outcome(self) -> str:
        """`win` or `loss` of the first model where the difference is more than chance, else `even`."""
        if self.test is not None and self.test.p > _SIGNIFICANT:
            return "even"
        return "win" if self.difference > 0 else "loss" if self.difference < 0 else "even"


@dataclass(frozen=True)
class Comparison:
    """Two models on the tasks that both were judged by."""

    first: str
    second: str
    tasks: Sequence[TaskComparison]
    left_out: Sequence[str]
    """Tasks that only one of them was judged by."""

    def by_type(self) -> dict[str, list[TaskComparison]]:
        """Tasks by their kind."""
        kinds = sorted({task.type for task in self.tasks})
        return {kind: [task for task in self.tasks if task.type == kind] for kind in kinds}

    def regressions(self, least: float = 0.0) -> list[tuple[str, str, float]]:
        """Languages in which the first model is worse by more than `least`: (task, language, loss), worst first."""
        losses = [
            (task.task, language, -difference)
            for task in self.tasks
            for language, difference in task.languages.items()
            if -difference > least
        ]
        return sorted(losses, key=lambda loss: -loss[2])


def compare(
    first: Artifact, second: Artifact, *, resamples: int = 2000, seed: int = 0, tasks: Sequence[str] | None = None
) -> Comparison:
    """Compare two evaluation artifacts, task by task on the same rows.

    Args:
        first: evaluation of the model in question.
        second: evaluation of the model it is held against.
        resamples: bootstrap resamples of each paired test.
        seed: of the resamples.
        tasks: by name; None takes all that both were judged by.

    Raises:
        DataError: the two share no task, or a task's data differs between them.
    """
    one, other = first.read_json("summary.json"), second.read_json("summary.json")
    shared = [task for task in one["tasks"] if task in other["tasks"] and (tasks is None or task in tasks)]
    if not shared:
        raise DataError(f"compare: {one['model']} and {other['model']} were judged by no common task.")
    compared = []
    for task in shared:
        a, b = one["tasks"][task], other["tasks"][task]
        languages = {
            name: score - b["by_language"][name] for name, score in a["by_language"].items() if name in b["by_language"]
        }
        samples = read_samples(first, task), read_samples(second, task)
        try:
            test = paired_test(*samples, resamples=resamples, seed=seed) if all(samples) else None
        except ValueError as error:
            raise DataError(f"compare: {task}: {error}. Evaluate both models on the same data.") from None
        compared.append(TaskComparison(task, a["type"], a["mean"], b["mean"], test, languages))
    left_out = sorted(set(one["tasks"]) ^ set(other["tasks"]))
    return Comparison(one["model"], other["model"], compared, left_out)


def comparison_table(comparison: Comparison) -> Table:
    """Lay a comparison out for the terminal: a row per task, grouped by kind, with the balance over languages drawn."""
    table = Table(
        title=f"{comparison.first} against {comparison.second}", title_justify="left", caption=_caption(comparison)
    )
    for heading, justify in (("task", "left"), ("first", "right"), ("second", "right"), ("difference", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]  # rich wants literals
    table.add_column("95 % interval")
    table.add_column("p", justify="right")
    table.add_column("languages won and lost")
    for kind, tasks in comparison.by_type().items():
        mean = fmean(task.difference for task in tasks)
        table.add_row(Text(f"{kind} ({len(tasks)})", style="bold"), "", "", f"{mean:+.4f}", "", "", "")
        for task in tasks:
            table.add_row(*_row(task))
        table.add_section()
    return table


def _row(task: TaskComparison) -> list[Any]:
    style = {"win": "green", "loss": "red", "even": ""}[task.outcome]
    around = f"{task.test.low:+.4f} … {task.test.high:+.4f}" if task.test else ""
    chance = f"{task.test.p:.3f}" if task.test else ""
    difference = Text(f"{task.difference:+.4f}", style=style)
    return [f"  {task.task}", f"{task.first:.4f}", f"{task.second:.4f}", difference, around, chance, _balance(task)]


def _balance(task: TaskComparison) -> Text:
    """Draw how many languages are better and how many worse."""
    won = sum(difference > 0 for difference in task.languages.values())
    lost = sum(difference < 0 for difference in task.languages.values())
    total = max(1, len(task.languages))
    bar = Text("▇" * round(_CELLS * won / total), style="green")
    bar.append("▇" * round(_CELLS * lost / total), style="red")
    return bar.append(f" {won} : {lost}", style="")


def _caption(comparison: Comparison) -> str | None:
    worst = comparison.regressions()[:3]
    parts = (
        ["largest losses: " + ", ".join(f"{task} {name} −{loss:.3f}" for task, name, loss in worst)] if worst else []
    )
    if comparison.left_out:
        parts.append("judged for one only: " + ", ".join(comparison.left_out))
    return "; ".join(parts) or None
