"""Derive the cache keys of task results from model, task and prompts, and look up results that are there."""

from collections.abc import Mapping, Sequence
from typing import Any

from polyglossa.evaluate.plan import PlannedTask
from polyglossa.evaluate.result_cache import ResultCache, result_key
from polyglossa.evaluate.scoring.task_result import TaskResult
from polyglossa.evaluate.tasks.prompts import prompts_for
from polyglossa.recipe.sections.evaluate import EvaluateConfig


def task_prompts(task: PlannedTask, pinned: Mapping[str, str], instructed: bool) -> dict[str, str]:
    """Prompts that a task's texts get, by mteb's names."""
    if task.prompts is not None:
        return dict(task.prompts)
    return prompts_for(pinned, {task.name: task.instruction}, instructed=instructed, search=task.search)


def task_key(task: PlannedTask, config: EvaluateConfig, prompts: Mapping[str, str], widths: Sequence[int]) -> str:
    """Name a task's verdict by all that shapes it."""
    local = next((one.model_dump(exclude={"path", "train"}) for one in config.local if one.name == task.name), None)
    settings: dict[str, Any] = {"local": local}
    settings["subsets"] = sorted(name for share in task.shares for name in share.subsets)
    if config.compressed:
        settings["compressed"] = True
    return result_key(task.name, task.revision, prompts, tuple(widths), settings)


def known_result(task: PlannedTask, cache: ResultCache, key: str) -> TaskResult | None:
    """The verdict of a task that an earlier run judged, or that cannot be judged; None: it must be."""
    if task.reason is not None:
        return TaskResult(task.name, 0, reason=task.reason)
    if not task.shares:
        return TaskResult(task.name, 0, reason="none of its subsets is in the languages asked for.")
    return cache.get(key)


def first_subset(task_result: TaskResult) -> str:
    """Name of a verdict's first subset: what shares of a task are put in order by."""
    return min((row["hf_subset"] for rows in task_result.result.get("scores", {}).values() for row in rows), default="")


def language_codes(task_results: Mapping[str, TaskResult | None]) -> list[str]:
    """Languages that verdicts are about."""
    rows = (
        row
        for task_result in task_results.values()
        if task_result is not None
        for rows in task_result.result.get("scores", {}).values()
        for row in rows
    )
    return sorted({(row["languages"] or ["und"])[0].partition("-")[0] for row in rows})
