"""The Ray graph of evaluation: embed every text once, then judge shares of the tasks, on a pool of actors.

Inputs: `corpus` (its held-out sets) and `model` (its `model/`). The artifact holds mteb's own result files under
`results/<model>/<revision>/` and `summary.json`:
{"model", "parameters", "dim", "tasks": {task: {"metric", "mean", "mean_distinct"?, "by_language", "widths"}}}.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import ray
from ray.util import ActorPool

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.evaluate.heldout import HeldoutSet, read_heldout
from polyglossa.evaluate.states import Floats
from polyglossa.evaluate.summary import join_results, summarise
from polyglossa.progress import Bar, track
from polyglossa.recipe.evaluate import EvaluateConfig
from polyglossa.recipe.placement import StagePlacement

STAGE = "evaluate"
REVISION = 1

_SHARES_PER_WORKER = 3  # small enough to even out, large enough that a call's own cost does not show
_QUERIES_PER_SHARE = 64  # below this a task is not cut


def run(config: EvaluateConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Judge one model.

    Args:
        config: which tasks, which widths.
        inputs: `corpus` and `model`.
        draft: takes the results.
        placement: number of actors, and what each may use.
    """
    run_many([(config, inputs, draft)], placement)


def run_many(jobs: Sequence[tuple[EvaluateConfig, Mapping[str, Artifact], Draft]], placement: StagePlacement) -> None:
    """Judge several models on one pool of actors: starting one costs more than a small model's evaluation."""
    pool = _start(placement)
    try:
        for config, inputs, draft in jobs:
            _judge_model(pool, config, inputs, draft)
    finally:
        for actor in pool:
            ray.kill(actor)


class _Evaluator:
    """An actor: keeps mteb loaded and one model at a time."""

    def __init__(self, threads: int) -> None:
        # Loading mteb takes seconds and hundreds of megabytes: workers alone pay for it, not the driver.
        from polyglossa.evaluate.worker import Worker

        self._make, self._threads = Worker, threads

    def load(self, path: str, name: str, revision: str, max_tokens: int | None) -> Any:
        self._worker = self._make(path, name=name, revision=revision, max_tokens=max_tokens, threads=self._threads)
        return self._worker.facts()

    def embed(self, texts: list[str]) -> Floats:
        return self._worker.embed(texts)

    def language_names(self, languages: list[str]) -> dict[str, str]:
        return self._worker.language_names(languages)

    def judge(self, heldout: HeldoutSet, texts: list[str], state_ND: Floats, instructed: bool, widths: bool) -> Any:
        return self._worker.judge(heldout, texts, state_ND, instructed=instructed, widths=widths)


def _start(placement: StagePlacement) -> list[Any]:
    environment = {"env_vars": {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}}
    actor = ray.remote(_Evaluator).options(
        num_cpus=placement.cpus,
        num_gpus=placement.gpus,
        label_selector=placement.labels or None,
        runtime_env=environment,
    )
    return [actor.remote(placement.threads) for _ in range(placement.workers)]


def _judge_model(actors: list[Any], config: EvaluateConfig, inputs: Mapping[str, Artifact], draft: Draft) -> None:
    model = inputs["model"]
    sets = [read_heldout(inputs["corpus"], name) for name in config.heldout]
    name = f"polyglossa/{model.manifest['name']}"
    path = open_storage(model.at("model"))[1]
    facts = ray.get([actor.load.remote(path, name, model.hash, config.max_tokens) for actor in actors])[0]
    instructed = facts.instructed or _learned_instructions(model)
    texts = list(dict.fromkeys(text for heldout in sets for text in heldout.texts(instructed=instructed)))
    queries = sum(len(heldout.queries) for heldout in sets)
    with track("evaluate", total=len(texts) + queries, unit="texts") as bar:
        known = ray.put(texts), ray.put(_embed(actors, texts, bar)), instructed, config.widths
        shares = [share for heldout in sets for share in _shares(heldout, len(actors) * _SHARES_PER_WORKER)]
        pool = ActorPool(actors)
        judged = pool.map_unordered(lambda actor, share: actor.judge.remote(share, *known), shares)
        verdicts = [_counted(verdict, bar) for verdict in judged]
    tasks = {heldout.name: _write_task(draft, facts, heldout, verdicts) for heldout in sets}
    draft.write_json(facts.meta, *_folder(facts), "model_meta.json")
    summary = {"model": name, "parameters": facts.parameters, "dim": facts.dim, "instructed": instructed}
    draft.write_json({**summary, "tasks": tasks, "languages": _languages(actors[0], sets)}, "summary.json")
    draft.count(texts=len(texts), queries=queries, **{task: figures["mean"] for task, figures in tasks.items()})


def _learned_instructions(model: Artifact) -> bool:
    """Whether the training stage behind a model gave its queries their instructions."""
    return bool(model.manifest["config"].get("stage", {}).get("instructions"))


def _write_task(draft: Draft, facts: Any, heldout: HeldoutSet, verdicts: Sequence[Any]) -> dict[str, Any]:
    shares = [verdict for verdict in verdicts if verdict.task == heldout.name]
    result = join_results([share.result for share in shares])
    draft.write_json(result, *_folder(facts), f"{heldout.name}.json")
    widths = {width: {} for width in shares[0].widths}
    for share in shares:
        for width, scores in share.widths.items():
            widths[width] |= scores
    return summarise(heldout.metric, result, widths, facts.dim)


def _folder(facts: Any) -> tuple[str, str, str]:
    """Where mteb's own loader looks for the results of a model."""
    return "results", facts.meta["name"].replace("/", "__"), facts.meta["revision"]


def _languages(actor: Any, sets: Sequence[HeldoutSet]) -> dict[str, dict[str, str]]:
    scripts = {language: script for heldout in sets for language, script in heldout.scripts.items()}
    names = ray.get(actor.language_names.remote(sorted(scripts)))
    return {code: {"script": script, "name": names.get(code, code)} for code, script in sorted(scripts.items())}


def _embed(actors: list[Any], texts: list[str], bar: Bar) -> Floats:
    """Embed texts on all actors: similar lengths together, so that a chunk pads little; result in their order."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    step = max(1, min(2048, -(-len(texts) // (len(actors) * _SHARES_PER_WORKER))))
    parts = [order[start : start + step] for start in range(0, len(order), step)]
    state_ND: Floats | None = None
    pool = ActorPool(actors)
    embedded = pool.map(lambda actor, part: actor.embed.remote([texts[row] for row in part]), parts[::-1])
    for part, states in zip(parts[::-1], embedded, strict=True):
        if state_ND is None:
            state_ND = np.empty((len(texts), states.shape[1]), np.float32)
        state_ND[part] = states
        bar.advance(len(part))
    assert state_ND is not None
    return state_ND


def _shares(heldout: HeldoutSet, most: int) -> Iterator[HeldoutSet]:
    """Cut a set by language into at most so many shares of about equal size."""
    count = max(1, min(most, len(heldout.languages), len(heldout.queries) // _QUERIES_PER_SHARE))
    for start in range(count):
        yield heldout.restricted_to(heldout.languages[start::count])


def _counted(verdict: Any, bar: Bar) -> Any:
    bar.advance(verdict.queries)
    return verdict
