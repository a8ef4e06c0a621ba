"""Tasks and benchmarks that mteb has by name: planned, and made for judging."""

import difflib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import mteb

from polyglossa.errors import DataError
from polyglossa.evaluate.models.conditions import prompts_of
from polyglossa.evaluate.plan import PlannedTask, Share
from polyglossa.evaluate.tasks.from_files import build_local
from polyglossa.evaluate.tasks.labels import use_label_lists
from polyglossa.evaluate.tasks.presets import BENCHMARKS
from polyglossa.recipe.sections.evaluate import EvaluateConfig

_DEFAULT = "mteb's metadata of {} has no instruction for it, nor for its kind; mteb's default of it is used: {!r}."
_UNKNOWN_ROWS = 20_000  # weight of a task whose size mteb does not tell


def build_task(share: Share) -> Any:
    """Make the mteb task of a share: from files, or of mteb by its name."""
    if share.local is not None:
        return use_label_lists(build_local(share.local, share.subsets))
    task = mteb.get_task(share.task)
    task.hf_subsets = list(share.subsets)
    return use_label_lists(task)


def plan_named_tasks(config: EvaluateConfig, *, known: bool = False) -> Iterator[PlannedTask]:
    """Plan the tasks and benchmarks that a recipe names.

    Args:
        config: names them.
        known: whether every task must be one of mteb's; else one that is not is planned with its reason.

    Raises:
        DataError: mteb has no such benchmark; or no such task, where it must.
    """
    for name in config.tasks:
        try:
            yield _plan(mteb.get_task(name, languages=list(config.languages) or None), config.judged_as)
        except KeyError:
            reason = f"mteb knows no task {name!r}; {_near(name)}"
            if known:
                raise DataError(f"evaluate.tasks: {reason}") from None
            yield PlannedTask(name, reason=reason)
    for preset in config.benchmarks:
        try:
            benchmark = mteb.get_benchmark(BENCHMARKS.get(preset, preset))
        except KeyError:
            raise DataError(
                f"evaluate.benchmarks: {preset!r} is not one of mteb's nor one of {', '.join(BENCHMARKS)}."
            ) from None
        whole = (str(benchmark.name),) if not config.task_types and not config.languages else ()
        for task in benchmark.tasks:
            if not config.task_types or task.metadata.type in config.task_types:
                planned = _plan(task.filter_languages(list(config.languages) or None), config.judged_as)
                yield replace(planned, benchmarks=whole)


def _near(name: str) -> str:
    """Say which task may be meant."""
    names = {task.metadata.name.lower(): task.metadata.name for task in mteb.get_tasks()}
    begun = sorted(known for known in names if known.startswith(name.lower()))
    near = [*begun, *difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.7)]
    if not near:
        return "its documentation lists them."
    return f"did you mean {' or '.join(names[known] for known in dict.fromkeys(near[:3]))}?"


def _plan(task: Any, judged_as: str | None) -> PlannedTask:
    metadata = task.metadata
    rows = sum((metadata.n_samples or {}).get(split, 0) for split in task.eval_splits) or _UNKNOWN_ROWS
    share = Share(metadata.name, rows, subsets=tuple(task.hf_subsets))
    planned = PlannedTask(metadata.name, str(metadata.revision), (share,) if share.subsets else ())
    found = prompts_of(judged_as, task) if judged_as is not None else None
    if found is None:
        return planned
    told = (_DEFAULT.format(judged_as, found.prompts[metadata.name]),) if found.origin == "mteb" else ()
    return replace(planned, prompts=found.prompts, own_prompt=found.origin == "task", notices=told)
