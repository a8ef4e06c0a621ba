"""The Ray graph of evaluation: embed the held-out texts once, then judge shares of all tasks, on a pool of actors.

Inputs: `corpus` (its held-out sets) and `model` (its `model/`). The artifact holds mteb's own result files under
`results/<model>/<revision>/`, the samples behind them, `speed.json` and `summary.json`:
{"model", "parameters", "dim", "mean", "tasks": {task: {"metric", "type", "mean", "interval", "mean_distinct"?,
"by_language", "widths"}}, "failed": {task: reason}, "languages"}.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import ray

from polyglossa.artifact import Artifact, Draft, read_json
from polyglossa.errors import PolyglossaError
from polyglossa.evaluate.cache import VerdictCache
from polyglossa.evaluate.outcome import write_outcome
from polyglossa.evaluate.plan import PlannedTask, Share, files_fingerprint, in_order, plan_heldout, plan_local
from polyglossa.evaluate.retrieval import shared_index_scores
from polyglossa.evaluate.settled import first_subset, known_verdict, language_codes, task_key, task_prompts
from polyglossa.evaluate.spec import ModelSpec, model_of
from polyglossa.evaluate.states import Floats
from polyglossa.evaluate.verdict import Verdict, join
from polyglossa.progress import Bar, track
from polyglossa.recipe.evaluate import EvaluateConfig
from polyglossa.recipe.placement import StagePlacement

STAGE = "evaluate"
REVISION = 2

_SHARES_PER_WORKER = 3  # small enough to even out, large enough that a call's own cost does not show
_RESTARTS = 3

Job = tuple[EvaluateConfig, Mapping[str, Artifact], Draft]


def run(config: EvaluateConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Judge one model.

    Args:
        config: which tasks, which widths.
        inputs: `corpus`, `model` and, to search its document vectors too, `teacher`.
        draft: takes the results.
        placement: number of actors, and what each may use.
    """
    run_many([(config, inputs, draft)], placement)


def input_fingerprint(config: EvaluateConfig) -> str | None:
    """Hash the files of the local tasks, for the artifact's key."""
    return files_fingerprint(config.local, config.data)


def run_many(jobs: Sequence[Job], placement: StagePlacement) -> None:
    """Judge several models on one pool of actors: starting one costs more than a small model's evaluation."""
    pool = start_actors(placement, offline=not any(config.tasks or config.benchmarks for config, _, _ in jobs))
    try:
        for config, inputs, draft in jobs:
            spec = model_of(config, inputs["model"])
            judge_model(pool, spec, config, inputs["corpus"], draft)
            if "teacher" in inputs:
                _judge_shared_index(config, inputs, draft, placement, instructed=spec.instructed)
    finally:
        stop_actors(pool)


def run_on(
    spec: ModelSpec, config: EvaluateConfig, corpus: Artifact | None, draft: Draft, placement: StagePlacement
) -> None:
    """Judge any model: a sentence-transformers directory or an endpoint, which no recipe made.

    Args:
        spec: the model.
        config: which tasks; `heldout` must be empty where no corpus is given.
        corpus: the artifact with the held-out sets.
        draft: takes the results.
        placement: number of actors, and what each may use.
    """
    pool = start_actors(placement, offline=not (config.tasks or config.benchmarks))
    try:
        judge_model(pool, spec, config, corpus, draft)
    finally:
        stop_actors(pool)


def _judge_shared_index(
    config: EvaluateConfig,
    inputs: Mapping[str, Artifact],
    draft: Draft,
    placement: StagePlacement,
    *,
    instructed: bool,
) -> None:
    """Add to the summary how well the model's queries find the documents that its teacher embedded."""
    task = ray.remote(shared_index_scores).options(num_cpus=placement.cpus, num_gpus=placement.gpus)
    models = [inputs[role].at("model") for role in ("model", "teacher")]
    found = ray.get(task.remote(inputs["corpus"], config.heldout, *models, instructed=instructed))
    summary = read_json(draft.at("summary.json"))
    draft.write_json({**summary, "teacher_documents": found}, "summary.json")


class _Evaluator:
    """An actor: keeps mteb loaded and one model at a time. A restarted one opens its model again by itself."""

    def __init__(self, threads: int) -> None:
        # Loading mteb takes seconds and hundreds of megabytes: workers alone pay for it, not the driver.
        from polyglossa.evaluate.worker import Worker

        self._make, self._threads = Worker, threads
        self._opened: Any = None

    def call(self, spec: ModelSpec, root: str | None, method: str, *arguments: Any, **options: Any) -> Any:
        if self._opened != (spec, root):
            self._worker = self._make(spec, threads=self._threads, root=root)
            self._opened = (spec, root)
        return getattr(self._worker, method)(*arguments, **options)


class _Pool:
    """The actors while one model is judged."""

    def __init__(self, actors: list[Any], spec: ModelSpec, root: str | None) -> None:
        self.actors, self._spec, self._root = actors, spec, root

    def first(self, method: str, *arguments: Any) -> Any:
        """Ask one actor."""
        return ray.get(self.actors[0].call.remote(self._spec, self._root, method, *arguments))

    def each(self, items: Sequence[Any], method: str, arguments: Any, **options: Any) -> Iterator[tuple[int, Any]]:
        """Call a method for every item on whichever actor is free; yield (index, answer) as they come.

        An actor that dies is started again by Ray and its call repeated; the answer of a call that still fails is
        the error.
        """
        free: SimpleQueue[Any] = SimpleQueue()
        for actor in self.actors:
            free.put(actor)

        def one(index: int) -> tuple[int, Any]:
            actor = free.get()
            try:
                call = actor.call.remote(self._spec, self._root, method, *arguments(items[index]), **options)
                return index, ray.get(call)
            except ray.exceptions.RayError as error:
                return index, error
            finally:
                free.put(actor)

        with ThreadPoolExecutor(len(self.actors)) as threads:
            yield from _as_they_come(threads, one, len(items))


def _as_they_come(threads: ThreadPoolExecutor, one: Any, count: int) -> Iterator[tuple[int, Any]]:
    done: SimpleQueue[Any] = SimpleQueue()
    for index in range(count):
        threads.submit(one, index).add_done_callback(done.put)
    for _ in range(count):
        yield done.get().result()


def start_actors(placement: StagePlacement, *, offline: bool) -> list[Any]:
    """Start evaluation actors; with `offline` they never look at a hub."""
    environment = {"TOKENIZERS_PARALLELISM": "false", **({"HF_HUB_OFFLINE": "1"} if offline else {})}
    actor = ray.remote(_Evaluator).options(
        num_cpus=placement.cpus,
        num_gpus=placement.gpus,
        label_selector=placement.labels or None,
        max_restarts=_RESTARTS,
        max_task_retries=_RESTARTS,
        runtime_env={"env_vars": environment},
    )
    return [actor.remote(placement.threads) for _ in range(placement.workers)]


def stop_actors(actors: list[Any]) -> None:
    """End evaluation actors."""
    for actor in actors:
        ray.kill(actor)


def judge_model(
    actors: list[Any], spec: ModelSpec, config: EvaluateConfig, corpus: Artifact | None, draft: Draft
) -> None:
    """Plan, judge what no earlier run judged, and write the outcome."""
    root = draft.uri.rpartition("/artifacts/")[0] or None
    pool = _Pool(actors, spec, root)
    most = len(actors) * _SHARES_PER_WORKER
    heldout = plan_heldout(config, corpus, most) if corpus is not None else []
    planned = [*heldout, *plan_local(config, most)]
    if config.tasks or config.benchmarks:
        planned += pool.first("plan_named", config)
    facts = pool.first("facts")
    instructed = spec.instructed or any(facts.prompts.values())
    widths = facts.widths if config.widths else ()
    cache = VerdictCache(root, facts.fingerprint)
    prompts = {task.name: task_prompts(task, facts.prompts, instructed) for task in planned}
    keys = {task.name: task_key(task, config, prompts[task.name], widths) for task in planned}
    verdicts = {task.name: known_verdict(task, cache, keys[task.name]) for task in planned}
    missing = [task for task in planned if verdicts[task.name] is None]
    embedded, fresh = _judge(pool, missing, prompts, widths, instructed=instructed)
    for name, found in fresh.items():
        cache.put(keys[name], found)
    verdicts |= fresh
    names = pool.first("language_names", language_codes(verdicts))
    judged = [verdict for task in planned if (verdict := verdicts[task.name]) is not None]
    metrics = {task.name: task.metric for task in planned if task.metric is not None}
    benchmarks = [(benchmark, task.name) for task in planned for benchmark in task.benchmarks]
    write_outcome(draft, spec, facts, config, judged, metrics, names, corpus, benchmarks)
    draft.write_json(pool.first("speed"), "speed.json")
    draft.count(texts_embedded=embedded + sum(verdict.embedded for verdict in fresh.values()))


def _judge(
    pool: _Pool,
    tasks: Sequence[PlannedTask],
    prompts: Mapping[str, dict[str, str]],
    widths: Sequence[int],
    *,
    instructed: bool,
) -> tuple[int, dict[str, Verdict]]:
    """Judge tasks; the number of held-out texts that were embedded for it, and a verdict per task."""
    shares = in_order(tasks)
    searches = [share.heldout for share in shares if share.heldout is not None]
    texts = list(dict.fromkeys(text for heldout in searches for text in heldout.texts(instructed=instructed)))
    parts: dict[str, list[Verdict]] = {}
    with track("evaluate", total=len(texts) + sum(share.rows for share in shares), unit="texts") as bar:
        known = ray.put(texts), ray.put(_embed(pool, texts, bar)) if texts else None

        def arguments(share: Share) -> tuple[Any, ...]:
            return (share, prompts[share.task], widths, *(known if share.heldout is not None else ()))

        for index, answer in pool.each(shares, "judge_share", arguments):
            share = shares[index]
            if isinstance(answer, Exception):
                answer = Verdict(
                    share.task, share.rows, reason=f"its worker failed: {' '.join(str(answer).split())[:300]}"
                )
            parts.setdefault(share.task, []).append(answer)
            bar.advance(share.rows)
            bar.note(share.task)
    return len(texts), {name: join(sorted(found, key=first_subset)) for name, found in parts.items()}


def _embed(pool: _Pool, texts: list[str], bar: Bar) -> Floats:
    """Embed texts on all actors: similar lengths together, so that a chunk pads little; result in their order."""
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    step = max(1, min(2048, -(-len(texts) // (len(pool.actors) * _SHARES_PER_WORKER))))
    parts = [order[start : start + step] for start in range(0, len(order), step)]
    state_ND: Floats | None = None
    for index, states in pool.each(parts, "embed", lambda part: ([texts[row] for row in part],)):
        if isinstance(states, Exception):
            raise PolyglossaError(f"evaluate: the model cannot embed the held-out texts. {states}")
        if state_ND is None:
            state_ND = np.empty((len(texts), states.shape[1]), np.float32)
        state_ND[parts[index]] = states
        bar.advance(len(parts[index]))
    assert state_ND is not None
    return state_ND
