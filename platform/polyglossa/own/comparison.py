"""Hold a model against others on one's own tasks, and against the one it came from elsewhere: differences, intervals.

Every difference is over the same queries, so its interval is that of a paired bootstrap.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from polyglossa.artifact import Artifact
from polyglossa.errors import DataError
from polyglossa.evaluate.scoring.compare import TaskComparison, compare
from polyglossa.evaluate.scoring.outcome import read_samples

METRICS = {"ndcg_at_10": "nDCG@10", "cosine_spearman": "Spearman", "hit_rate_at_1": "accuracy", "accuracy": "accuracy"}


def own_figures(
    tasks: Sequence[str], ours: Artifact, others: Mapping[str, Artifact], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Compare on one's own tasks.

    Args:
        tasks: by name.
        ours: evaluation of the model in question.
        others: evaluations of those it is held against, by name.
        resamples: of each interval.
        seed: of the resamples.

    Returns:
        By task: `metric`, `own`, `interval`, `queries`, and `against`: {name: {"mean", "difference", "low", "high",
        "p"}}; an evaluation that judged the task on other rows has `mean` None and a `reason`.
    """
    summary = ours.read_json("summary.json")
    judged = {name: other.read_json("summary.json")["tasks"] for name, other in others.items()}
    found: dict[str, Any] = {}
    for task in tasks:
        if task not in summary["tasks"]:
            found[task] = {"failed": summary["failed"].get(task, "not judged")}
            continue
        figures = summary["tasks"][task]
        found[task] = {
            "metric": METRICS.get(figures["metric"], figures["metric"]),
            "own": figures["mean"],
            "interval": figures.get("interval"),
            "queries": sum(len(one.score) for one in read_samples(ours, task).values()),
            "against": {
                name: _against(task, ours, other, resamples, seed)
                for name, other in others.items()
                if task in judged[name]
            },
        }
    return found


def _against(task: str, ours: Artifact, other: Artifact, resamples: int, seed: int) -> dict[str, Any]:
    try:
        comparison = compare(ours, other, resamples=resamples, seed=seed, tasks=[task])
    except DataError as error:
        return {"mean": None, "reason": str(error)}
    return _plain(comparison.tasks[0])


def elsewhere_figures(
    own_tasks: Sequence[str], ours: Artifact, start: Artifact, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Compare on all tasks that are not one's own: what a fine-tuning may lose.

    Returns:
        By task: `metric`, `own`, and of the model as it came `mean`, `difference`, `low`, `high`, `p`.
    """
    tasks = ours.read_json("summary.json")["tasks"]
    before = start.read_json("summary.json")["tasks"]
    others = [task for task in tasks if task not in own_tasks and task in before]
    if not others:
        return {}
    comparison = compare(ours, start, resamples=resamples, seed=seed, tasks=others)
    return {
        one.task: {
            "metric": METRICS.get(tasks[one.task]["metric"], tasks[one.task]["metric"]),
            "own": one.first,
            **_plain(one),
        }
        for one in comparison.tasks
    }


def _plain(one: TaskComparison) -> dict[str, Any]:
    test = one.test
    around = {"low": test.low, "high": test.high, "p": test.p} if test else {"low": None, "high": None, "p": None}
    return {"mean": one.second, "difference": one.difference, **around}


def is_better(against: Mapping[str, Any]) -> bool:
    """Tell whether a difference is above zero by more than chance."""
    low = against.get("low")
    return bool(low > 0 if low is not None else against.get("difference", 0.0) > 0)


def is_lost(against: Mapping[str, Any]) -> bool:
    """Tell whether a difference is below zero by more than chance."""
    high = against.get("high")
    return bool(high < 0 if high is not None else against.get("difference", 0.0) < 0)
