"""Evaluate one model on a pool of workers: embed held-out texts once, evaluate shares of all tasks, write the outcome.

What an earlier run judged is taken from its verdicts. How calls reach the workers is the pool's affair: there is no Ray
in here.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from polyglossa.artifact import Artifact, Draft
from polyglossa.errors import PolyglossaError, list_names
from polyglossa.evaluate.models.judged_as import report_conditions
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.evaluate.models.states import Floats
from polyglossa.evaluate.plan import PlannedTask, in_order, plan_heldout, plan_local
from polyglossa.evaluate.result_cache import ResultCache
from polyglossa.evaluate.result_keys import first_subset, known_result, language_codes, task_key, task_prompts
from polyglossa.evaluate.scoring.outcome import write_outcome
from polyglossa.evaluate.scoring.task_result import TaskResult, join
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.runtime.console import Bar, track

_SHARES_PER_WORKER = 3  # small enough to even out, large enough that a call's own cost does not show


Call = tuple[Any, ...]
"""A worker's method, and its arguments."""


class Pool(Protocol):
    """Workers (`worker.Worker`) that have one model open."""

    workers: int

    def first(self, method: str, *arguments: Any) -> Any:
        """Ask one worker."""

    def each(self, calls: Sequence[Call]) -> Iterator[tuple[int, Any]]:
        """Make every call on whichever worker is free; yield (index, answer or error) as they come.

        Workers for whom no call is left help those that still embed.
        """

    def share(self, value: Any) -> Any:
        """Put a value where all workers reach it; what comes back is passed in its place."""


def evaluate(
    pool: Pool,
    spec: ModelSpec,
    config: EvaluateConfig,
    corpus: Artifact | None,
    draft: Draft,
    root: str | None,
    *,
    known: bool = False,
) -> None:
    """Plan, judge what no earlier run judged, and write the outcome.

    Args:
        pool: workers with the model open.
        spec: the model.
        config: which tasks.
        corpus: holds the held-out sets, where any are among them.
        draft: takes the results.
        root: storage root that keeps verdicts; None keeps none.
        known: whether a task that mteb does not know is refused before anything is judged; else it is one that could
            not be judged.

    Raises:
        DataError: mteb has no such benchmark; or no such task, where it must.
    """
    most = pool.workers * _SHARES_PER_WORKER
    heldout = plan_heldout(config, corpus, most) if corpus is not None else []
    planned = [*heldout, *plan_local(config, most)]
    if config.tasks or config.benchmarks:
        planned += pool.first("plan_named", config, known)
    facts = pool.first("facts")
    instructed = spec.instructed or any(facts.prompts.values())
    widths = facts.widths if config.widths else ()
    cache = ResultCache(root, facts.fingerprint)
    prompts = {task.name: task_prompts(task, facts.prompts, instructed) for task in planned}
    keys = {task.name: task_key(task, config, prompts[task.name], widths) for task in planned}
    task_results = {task.name: known_result(task, cache, keys[task.name]) for task in planned}
    missing = [task for task in planned if task_results[task.name] is None]
    embedded, fresh = _evaluate_tasks(
        pool, missing, prompts, widths, compressed=config.compressed, instructed=instructed, foreign=spec.foreign
    )
    for name, found in fresh.items():
        cache.put(keys[name], found)
    task_results |= fresh
    names = pool.first("language_names", language_codes(task_results))
    evaluated = [task_result for task in planned if (task_result := task_results[task.name]) is not None]
    metrics = {task.name: task.metric for task in planned if task.metric is not None}
    benchmarks = [(benchmark, task.name) for task in planned for benchmark in task.benchmarks]
    notices = {task.name: said for task in planned if (said := (*task.notices, *_own_ways(task, spec)))}
    judged_as = report_conditions(spec, facts.max_tokens, planned) if spec.conditions is not None else None
    trained_on = pool.first("trained_on", config) if config.benchmarks else {}
    write_outcome(
        draft, spec, facts, config, evaluated, metrics, names, benchmarks, notices,
        judged_as=judged_as, trained_on=trained_on,
    )  # fmt: skip
    draft.write_json(pool.first("speed"), "speed.json")
    draft.count(texts_embedded=embedded + sum(task_result.embedded for task_result in fresh.values()))
    _leave_unfinished(draft, {name: found.reason for name, found in fresh.items() if found.reason is not None})


def _leave_unfinished(draft: Draft, failed: Mapping[str, str]) -> None:
    """Let the next run judge what may fail for a moment only; a report is then made of what it finds."""
    if not failed:
        return
    draft.unfinished = f"{list_names(failed, 1)} could not be judged: {next(iter(failed.values()))}"
    draft.identity = hashlib.sha256(json.dumps([draft.uri.rpartition("/")[2], sorted(failed)]).encode()).hexdigest()[
        :16
    ]


def _own_ways(task: PlannedTask, spec: ModelSpec) -> tuple[str, ...]:
    """Say that a task is judged in the model's own ways although the model is judged as another."""
    conditions = spec.conditions
    if conditions is None or conditions.revision is None or not conditions.instructs or task.prompts is not None:
        return ()
    used = "its own instruction" if task.instruction else "the model's prompt or the default of its kind"
    return (f"mteb has no such task, so {conditions.name} has no instruction for it; {used} is used.",)


def _evaluate_tasks(
    pool: Pool,
    tasks: Sequence[PlannedTask],
    prompts: Mapping[str, dict[str, str]],
    widths: Sequence[int],
    *,
    compressed: bool,
    instructed: bool,
    foreign: bool,
) -> tuple[int, dict[str, TaskResult]]:
    """Judge tasks; the number of held-out texts that were embedded for it, and a verdict per task.

    A model from outside is held to sentence-transformers by one worker while the others begin.
    """
    shares = in_order(tasks)
    searches = [share.heldout for share in shares if share.heldout is not None]
    texts = list(dict.fromkeys(text for heldout in searches for text in heldout.texts(instructed=instructed)))
    parts: dict[str, list[TaskResult]] = {}
    with track("evaluate", total=len(texts) + sum(share.rows for share in shares), unit="texts") as bar:
        known = pool.share(texts), pool.share(_embed(pool, texts, bar)) if texts else None

        calls: list[Call] = [("check",)] if foreign else []
        for share in shares:
            states = known if share.heldout is not None else (None, None)
            calls.append(("evaluate_share", share, prompts[share.task], widths, *states, compressed))
        for index, answer in pool.each(calls):
            if foreign and index == 0:
                _raise_if_error(answer)
                continue
            share = shares[index - int(foreign)]
            if isinstance(answer, Exception):
                answer = TaskResult(
                    share.task, share.rows, reason=f"its worker failed: {' '.join(str(answer).split())[:300]}"
                )
            parts.setdefault(share.task, []).append(answer)
            bar.advance(share.rows)
            bar.note(share.task)
    return len(texts), {name: join(sorted(found, key=first_subset)) for name, found in parts.items()}


def _raise_if_error(answer: Any) -> None:
    if isinstance(answer, Exception):
        raise answer


def _embed(pool: Pool, texts: list[str], bar: Bar) -> Floats:
    """Embed texts on all actors: similar lengths together, so that a chunk pads little; result in their order."""
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    step = max(1, min(2048, -(-len(texts) // (pool.workers * _SHARES_PER_WORKER))))
    parts = [order[start : start + step] for start in range(0, len(order), step)]
    state_ND: Floats | None = None
    for index, states in pool.each([("embed", [texts[row] for row in part]) for part in parts]):
        if isinstance(states, Exception):
            raise PolyglossaError(f"evaluate: the model cannot embed the held-out texts. {states}")
        if state_ND is None:
            state_ND = np.empty((len(texts), states.shape[1]), np.float32)
        state_ND[parts[index]] = states
        bar.advance(len(parts[index]))
    assert state_ND is not None
    return state_ND
