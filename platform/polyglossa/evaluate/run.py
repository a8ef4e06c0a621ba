"""The Ray part of evaluation: actors that hold a model each, and the jobs that are judged on them.

Inputs: `corpus` (its held-out sets) and `model` (its `model/`). The artifact holds mteb's own result files under
`results/<model>/<revision>/`, the samples behind them, `speed.json` and `summary.json`:
{"model", "parameters", "dim", "mean", "tasks": {task: {"metric", "type", "mean", "interval", "mean_distinct"?,
"by_language", "widths"}}, "failed": {task: reason}, "languages"}.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import ray

from polyglossa.artifact import Artifact, Draft, read_json
from polyglossa.errors import PolyglossaError
from polyglossa.evaluate.evaluation import evaluate
from polyglossa.evaluate.models.spec import ModelSpec, model_of
from polyglossa.evaluate.plan import files_fingerprint
from polyglossa.evaluate.scoring.retrieval import shared_index_scores
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.runtime.nodes import stage_precision

STAGE = "evaluate"
REVISION = 3

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
            spec = _settled(model_of(config, inputs["model"]), draft, placement)
            evaluate_model(pool, spec, config, inputs["corpus"], draft)
            if "teacher" in inputs:
                _score_shared_index(config, inputs, draft, placement, spec)
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
        evaluate_model(pool, _settled(spec, draft, placement), config, corpus, draft)
    finally:
        stop_actors(pool)


def _settled(spec: ModelSpec, draft: Draft, placement: StagePlacement) -> ModelSpec:
    """Decide what a directory is computed in, on all actors alike; an endpoint decides for itself."""
    if spec.endpoint is not None:
        return spec
    precision = stage_precision(spec.dtype, placement)
    draft.precision = precision.plain()
    return replace(spec, dtype=precision.dtype)


def _score_shared_index(
    config: EvaluateConfig,
    inputs: Mapping[str, Artifact],
    draft: Draft,
    placement: StagePlacement,
    spec: ModelSpec,
) -> None:
    """Add to the summary how well the model's queries find the documents that its teacher embedded."""
    task = ray.remote(shared_index_scores).options(**placement.ray_options)
    models = [inputs[role].at("model") for role in ("model", "teacher")]
    how = {"instructed": spec.instructed, "dtype": spec.dtype}
    found = ray.get(task.remote(inputs["corpus"], config.heldout, *models, **how))
    summary = read_json(draft.at("summary.json"))
    draft.write_json({**summary, "teacher_documents": found}, "summary.json")


class _Evaluator:
    """An actor: keeps mteb loaded and one model at a time. A restarted one opens its model again by itself."""

    def __init__(self, threads: int) -> None:
        # Loading mteb takes seconds and hundreds of megabytes: workers alone pay for it, not the driver.
        from polyglossa.evaluate.worker import Worker

        self._make, self._threads = Worker, threads
        self._opened: Any = None

    def call(self, spec: ModelSpec, root: str | None, method: str, *arguments: Any) -> Any:
        if self._opened != (spec, root):
            self._worker = self._make(spec, threads=self._threads, root=root)
            self._opened = (spec, root)
        return getattr(self._worker, method)(*arguments)


class _Pool:
    """The actors while one model is judged."""

    def __init__(self, actors: list[Any], spec: ModelSpec, root: str | None) -> None:
        self.actors, self._spec, self._root = actors, spec, root
        self.workers = len(actors)

    def first(self, method: str, *arguments: Any) -> Any:
        """Ask one actor; an error made on purpose is raised as it was there."""
        try:
            return ray.get(self.actors[0].call.remote(self._spec, self._root, method, *arguments))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, PolyglossaError):
                raise error.cause from None
            raise

    def share(self, value: Any) -> Any:
        """Put a value into the object store, where all actors reach it."""
        return ray.put(value)

    def each(self, items: Sequence[Any], method: str, arguments: Any) -> Iterator[tuple[int, Any]]:
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
                call = actor.call.remote(self._spec, self._root, method, *arguments(items[index]))
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


def evaluate_model(
    actors: list[Any], spec: ModelSpec, config: EvaluateConfig, corpus: Artifact | None, draft: Draft
) -> None:
    """Judge one model on actors that are up."""
    root = draft.uri.rpartition("/artifacts/")[0] or None
    evaluate(_Pool(actors, spec, root), spec, config, corpus, draft, root)


def start_actors(placement: StagePlacement, *, offline: bool) -> list[Any]:
    """Start evaluation actors; with `offline` they never look at a hub."""
    environment = {"TOKENIZERS_PARALLELISM": "false", **({"HF_HUB_OFFLINE": "1"} if offline else {})}
    actor = ray.remote(_Evaluator).options(
        **placement.ray_options,
        max_restarts=_RESTARTS,
        max_task_retries=_RESTARTS,
        runtime_env={"env_vars": environment},
    )
    return [actor.remote(placement.threads) for _ in range(placement.workers)]


def stop_actors(actors: list[Any]) -> None:
    """End evaluation actors."""
    for actor in actors:
        ray.kill(actor)
