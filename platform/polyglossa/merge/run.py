"""The merge stage: validate each model, average, validate the average, keep the better.

Inputs are `model:0`, `model:1` … (each with the late checkpoints that its training kept) and `pack`. An average is
written once, beside the draft; then the sources of the validation rows are dealt to `workers` tasks, so that a large
model's validation takes as many devices as the stage has. A source is scored by one task, whatever their number: the
score is the same. If no average beats the best model, the artifact holds that model, and says so, unless the recipe
wants the average whatever it is (`keep: always`).

This file loads no torch: it is read to work out the artifact's key; `merge.worker` is what its tasks load.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import ray

from polyglossa.artifact import Artifact, Draft, clear
from polyglossa.errors import UserError
from polyglossa.merge.shares import deal_sources, mean_score, validation_sources
from polyglossa.merge.soup import greedy_soup
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.merge import MergeConfig
from polyglossa.runtime.console import say, track
from polyglossa.runtime.nodes import stage_precision
from polyglossa.runtime.ray_tasks import results
from polyglossa.storage import copy_folder

Scores: TypeAlias = "list[ray.ObjectRef[dict[str, float]]]"

STAGE = "merge"
REVISION = 3


def run(config: MergeConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Merge models and keep the result if it is better on validation retrieval than each of them.

    Writes `model/` and `merge.json` (scores, what was tried, what was kept).

    Raises:
        UserError: fewer than two models, or models that do not fit each other.
        DataError: the pack holds nothing to validate with.
    """
    models = [uri for role in _model_roles(inputs) for uri in _models_of(inputs[role], config.late_checkpoints)]
    if len(models) < 2:
        raise UserError(f"merge: got {len(models)} model; give two or more.")
    if config.weights is not None and len(config.weights) != len(models):
        raise UserError(f"merge.weights: got {len(config.weights)} for {len(models)} models; give one each.")
    scratch = f"{draft.uri}.work"
    clear(scratch)
    precision = stage_precision(None, placement)
    draft.precision = precision.plain()
    work = _Work(config, inputs["pack"].uri, placement, precision.dtype, scratch)
    with track(STAGE, total=len(models) + 2, unit="models") as bar:
        waiting = [work.validate(model) for model in models]
        scores = []
        for scored in waiting:
            scores.append(work.mean(scored))
            bar.advance()
        report = _merge(config, models, scores, work)
        bar.advance()
        work.keep([models[index] for index in report["kept"]], report["weights"], draft.at("model"))
        report["score_reloaded"] = work.mean(work.validate(draft.at("model")))
        bar.advance()
    clear(scratch)
    draft.write_json(report, "merge.json")
    draft.count(method=config.method, score=report["score"], best_single=max(scores), merged=report["merged"])
    say(_describe_choice(report, max(scores)))


def _merge(config: MergeConfig, models: Sequence[str], scores: Sequence[float], work: "_Work") -> dict[str, Any]:
    """Decide what is kept: models, weights and the figures behind it."""
    best = max(range(len(models)), key=lambda index: scores[index])
    if config.method == "greedy_soup":
        soup = greedy_soup(scores, lambda tried: work.score([models[index] for index in tried], [1.0] * len(tried)))
        chosen, weights, score = soup.ingredients, [1.0] * len(soup.ingredients), soup.score
        trials = [{"models": list(tried), "score": result} for tried, result in soup.trials]
    else:
        chosen, weights = tuple(range(len(models))), list(config.weights or [1.0] * len(models))
        score = work.score(models, weights)
        trials = [{"models": list(chosen), "score": score}]
    merged = len(chosen) > 1 and (score > scores[best] or config.keep == "always")
    if not merged:
        chosen, weights, score = (best,), [1.0], scores[best]
    return {
        "merged": merged,
        "score": score,
        "scores": list(scores),
        "kept": list(chosen),
        "weights": weights,
        "trials": trials,
    }


def _describe_choice(report: Mapping[str, Any], best: float) -> str:
    tried = max((trial["score"] for trial in report["trials"]), default=best)
    kept = f"averaged {len(report['kept'])} models" if report["merged"] else "no average is better: kept the best model"
    return f"  merge: best average {tried:.4f}, best of {len(report['scores'])} models {best:.4f}; {kept}"


class _Work:
    """Starts tasks that average and validate; averages lie in a scratch folder until they are kept or beaten."""

    def __init__(self, config: MergeConfig, pack_uri: str, placement: StagePlacement, dtype: str, scratch: str) -> None:
        from polyglossa.merge.worker import average_models, score_model

        self._average = ray.remote(average_models).options(**placement.ray_options)
        self._validate = ray.remote(score_model).options(**placement.ray_options)
        self._method = "linear" if config.method == "greedy_soup" else config.method
        self._pack_uri, self._queries, self._threads = pack_uri, config.validation_queries, placement.threads
        self._device, self._dtype = placement.torch_device, dtype
        self._sources = validation_sources(pack_uri)
        self._shares = deal_sources(self._sources, placement.workers)
        self._scratch = scratch
        self._written: dict[tuple[tuple[str, ...], tuple[float, ...]], str] = {}

    def validate(self, model: str) -> Scores:
        """Score a model directory: a task a share of the sources."""
        rest = (self._queries, self._threads, self._device, self._dtype)
        return [self._validate.remote(model, self._pack_uri, share, *rest) for share in self._shares]

    def score(self, models: Sequence[str], weights: Sequence[float]) -> float:
        """Score the average of some models, and wait for it."""
        return self.mean(self.validate(self._average_of(models, weights)))

    def mean(self, scores: Scores) -> float:
        """Wait for a model's score."""
        return mean_score(results(scores), self._sources)

    def keep(self, models: Sequence[str], weights: Sequence[float], target: str) -> None:
        """Write what was chosen, an average or one model, to its place."""
        if len(models) == 1:
            results([self._average.remote(self._method, list(models), list(weights), self._threads, target)])
            return
        copy_folder(self._average_of(models, weights), target)

    def _average_of(self, models: Sequence[str], weights: Sequence[float]) -> str:
        made = (tuple(models), tuple(weights))
        if made not in self._written:
            target = f"{self._scratch}/average-{len(self._written)}"
            results([self._average.remote(self._method, list(models), list(weights), self._threads, target)])
            self._written[made] = target
        return self._written[made]


def _model_roles(inputs: Mapping[str, Artifact]) -> list[str]:
    return sorted((role for role in inputs if role.startswith("model:")), key=lambda role: int(role[6:]))


def _models_of(trained: Artifact, late: bool) -> list[str]:
    """List the model directories of an artifact: late checkpoints, oldest first, then what the training ended with."""
    steps = trained.counts.get("late_steps", ()) if late else ()
    return [*(trained.at("late", str(step)) for step in steps), trained.at("model")]
