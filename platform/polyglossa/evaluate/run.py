"""The Ray part of evaluation: actors that hold a model each, and the jobs that are judged on them.

Inputs: `corpus` (its held-out sets) and `model` (its `model/`). The artifact holds mteb's own result files under
`results/<model>/<revision>/`, the samples behind them, `speed.json` and `summary.json`:
{"model", "parameters", "dim", "mean", "tasks": {task: {"metric", "type", "mean", "interval", "mean_distinct"?,
"by_language", "widths"}}, "failed": {task: reason}, "languages"}.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

import ray

from polyglossa.artifact import Artifact, Draft, read_json
from polyglossa.errors import PolyglossaError
from polyglossa.evaluate.evaluation import Call, evaluate
from polyglossa.evaluate.exchange import Exchange
from polyglossa.evaluate.models.spec import Conditions, ModelSpec, model_of
from polyglossa.evaluate.plan import files_fingerprint
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.runtime.nodes import stage_precision

STAGE = "evaluate"
REVISION = 3

_RESTARTS = 3
_HELP_AGAIN_SECONDS = 0.1

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
            spec = _settled(_under_conditions(pool, model_of(config, inputs["model"]), config), draft, placement)
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

    Raises:
        DataError: mteb knows no such task or benchmark.
    """
    pool = start_actors(placement, offline=not (config.tasks or config.benchmarks))
    try:
        settled = _settled(_under_conditions(pool, spec, config), draft, placement)
        evaluate_model(pool, settled, config, corpus, draft, known=True)
    finally:
        stop_actors(pool)


def _under_conditions(actors: Sequence[Any], spec: ModelSpec, config: EvaluateConfig) -> ModelSpec:
    """Read how mteb runs the model that this one is judged as; by an actor, for mteb is loaded there."""
    if config.judged_as is None:
        return spec
    return spec.judged_under(ray.get(actors[0].conditions.remote(config.judged_as, spec.path)))


def _settled(spec: ModelSpec, draft: Draft, placement: StagePlacement) -> ModelSpec:
    """Decide what a directory is computed in, on all actors alike; an endpoint decides for itself."""
    if spec.endpoint is not None:
        return spec
    precision = stage_precision(spec.dtype, placement)
    draft.precision = precision.plain()
    return replace(spec, dtype=precision.dtype, device=placement.torch_device)


def _score_shared_index(
    config: EvaluateConfig,
    inputs: Mapping[str, Artifact],
    draft: Draft,
    placement: StagePlacement,
    spec: ModelSpec,
) -> None:
    """Add to the summary how well the model's queries find the documents that its teacher embedded."""
    task = ray.remote(_shared_index_scores).options(**placement.ray_options)
    models = [inputs[role].at("model") for role in ("model", "teacher")]
    how = {"instructed": spec.instructed, "dtype": spec.dtype, "device": spec.device}
    found = ray.get(task.remote(inputs["corpus"], config.heldout, *models, **how))
    summary = read_json(draft.at("summary.json"))
    draft.write_json({**summary, "teacher_documents": found}, "summary.json")


def _shared_index_scores(*arguments: Any, **how: Any) -> Any:
    """Score in a task, which loads torch; the driver does without."""
    from polyglossa.evaluate.scoring.retrieval import shared_index_scores

    return shared_index_scores(*arguments, **how)


class _RemoteExchange:
    """The exchange of a pool, reached from a worker; a lost one costs the help alone."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def post(self, *arguments: Any) -> Any:
        return self._ask("post", arguments, (None, {}))

    def next(self, *arguments: Any) -> Any:
        return self._ask("next", arguments, (None, {}))

    def take(self) -> Any:
        return self._ask("take", (), None)

    def give(self, *arguments: Any) -> None:
        self._ask("give", arguments, None)

    def close(self, *arguments: Any) -> None:
        self._ask("close", arguments, None)

    def _ask(self, method: str, arguments: Sequence[Any], nobody: Any) -> Any:
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments))
        except ray.exceptions.RayActorError:
            return nobody


class _Evaluator:
    """An actor: keeps mteb loaded and one model at a time. A restarted one opens its model again by itself."""

    def __init__(self, threads: int) -> None:
        # Loading mteb takes seconds and hundreds of megabytes: workers alone pay for it, not the driver.
        from polyglossa.evaluate.worker import Worker

        self._make, self._threads = Worker, threads
        self._opened: Any = None

    def conditions(self, judged_as: str, path: str | None) -> Conditions:
        from polyglossa.evaluate.models.conditions import read_conditions

        return read_conditions(judged_as, path)

    def call(self, spec: ModelSpec, root: str | None, exchange: Any, method: str, *arguments: Any) -> Any:
        if self._opened != (spec, root, exchange):
            shared = _RemoteExchange(exchange) if exchange is not None else None
            self._worker = self._make(spec, threads=self._threads, root=root, exchange=shared)
            self._opened = (spec, root, exchange)
        return getattr(self._worker, method)(*arguments)


class _Pool:
    """The actors while one model is judged."""

    def __init__(self, actors: list[Any], spec: ModelSpec, root: str | None) -> None:
        self.actors, self._spec, self._root = actors, spec, root
        self.workers = len(actors)
        # Handed over with each call: what an actor's constructor was given may be gone when it is started again.
        self._exchange = ray.remote(Exchange).options(num_cpus=0).remote() if self.workers > 1 else None

    def first(self, method: str, *arguments: Any) -> Any:
        """Ask one actor; an error made on purpose is raised as it was there."""
        answer = self._ask(self.actors[0], method, *arguments)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def share(self, value: Any) -> Any:
        """Put a value into the object store, where all actors reach it."""
        return ray.put(value)

    def each(self, calls: Sequence[Call]) -> Iterator[tuple[int, Any]]:
        """Make every call on whichever actor is free; yield (index, answer) as they come.

        An actor that dies is started again by Ray and its call repeated; the answer of a call that still fails is
        the error. Actors for which no call is left help the others. Who stops listening does not wait for calls that
        are under way.
        """
        waiting, answers, finished = iter(range(len(calls))), SimpleQueue[tuple[int, Any]](), Event()
        turn = Lock()

        def serve(actor: Any) -> None:
            while not finished.is_set():
                with turn:
                    index = next(waiting, None)
                if index is not None:
                    answers.put((index, self._ask(actor, *calls[index])))
                elif self._ask(actor, "help") is not True:
                    finished.wait(_HELP_AGAIN_SECONDS)

        threads = [Thread(target=serve, args=(actor,), daemon=True) for actor in self.actors]
        for thread in threads:
            thread.start()
        try:
            for _ in calls:
                yield answers.get()
        finally:
            finished.set()

    def _ask(self, actor: Any, method: str, *arguments: Any) -> Any:
        """Return an actor's answer, or the error; one made on purpose as it was there."""
        try:
            return ray.get(actor.call.remote(self._spec, self._root, self._exchange, method, *arguments))
        except ray.exceptions.RayTaskError as error:
            return error.cause if isinstance(error.cause, PolyglossaError) else error
        except ray.exceptions.RayError as error:
            return error


def evaluate_model(
    actors: list[Any],
    spec: ModelSpec,
    config: EvaluateConfig,
    corpus: Artifact | None,
    draft: Draft,
    *,
    known: bool = False,
) -> None:
    """Judge one model on actors that are up; `known` refuses tasks that mteb does not know."""
    root = draft.uri.rpartition("/artifacts/")[0] or None
    evaluate(_Pool(actors, spec, root), spec, config, corpus, draft, root, known=known)


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
