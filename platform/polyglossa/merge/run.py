"""The merge stage: judge each model, average, judge the average, keep the better.

Inputs are `model:0`, `model:1` … (each with the late checkpoints that its training kept) and `pack`. The models are
judged in parallel, one Ray task each. If no average beats the best model, the artifact holds that model, and says so,
unless the recipe wants the average whatever it is (`keep: always`).
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeAlias

import ray
import torch

from polyglossa.artifact import Artifact, Draft
from polyglossa.errors import UserError
from polyglossa.merge.soup import greedy_soup
from polyglossa.merge.validation import validation_score
from polyglossa.merge.weights import average, save
from polyglossa.model.encoder import Encoder
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.merge import MergeConfig
from polyglossa.runtime.console import say, track
from polyglossa.runtime.nodes import stage_precision
from polyglossa.runtime.ray_tasks import results
from polyglossa.storage import local_folder, writable_folder

Score: TypeAlias = "ray.ObjectRef[float]"

STAGE = "merge"
REVISION = 3


def run(config: MergeConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Merge models and keep the result if it is better on validation retrieval than each of them.

    Writes `model/` and `merge.json` (scores, what was tried, what was kept).

    Raises:
        UserError: fewer than two models, or models that do not fit each other.
    """
    models = [uri for role in _model_roles(inputs) for uri in _models_of(inputs[role], config.late_checkpoints)]
    if len(models) < 2:
        raise UserError(f"merge: got {len(models)} model; give two or more.")
    if config.weights is not None and len(config.weights) != len(models):
        raise UserError(f"merge.weights: got {len(config.weights)} for {len(models)} models; give one each.")
    work = _Work(config, inputs["pack"].uri, placement)
    with track(STAGE, total=len(models) + 2, unit="models") as bar:
        scores: list[float] = results([work.start_scoring([model], [1.0]) for model in models])
        bar.advance(len(models))
        report = _merge(config, models, scores, work)
        bar.advance()
        results([work.start_scoring([models[index] for index in report["kept"]], report["weights"], draft.at("model"))])
        report["score_reloaded"] = work.score([draft.at("model")], [1.0])
        bar.advance()
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
    """Starts tasks that average and judge."""

    def __init__(self, config: MergeConfig, pack_uri: str, placement: StagePlacement) -> None:
        self._task = ray.remote(_average_and_score).options(**placement.ray_options)
        self._method = "linear" if config.method == "greedy_soup" else config.method
        self._pack_uri, self._queries, self._threads = pack_uri, config.validation_queries, placement.threads
        self._device = placement.torch_device
        self._dtype = stage_precision(None, placement).dtype if placement.gpus else "float32"

    def start_scoring(
        self, models: Sequence[str], weights: Sequence[float], target: str | None = None
    ) -> "ray.ObjectRef[float]":
        """Score the average of some models (or one model alone), writing it to a folder where one is given."""
        return self._task.remote(
            self._method,
            list(models),
            list(weights),
            self._pack_uri,
            self._queries,
            self._threads,
            self._device,
            self._dtype,
            target,
        )

    def score(self, models: Sequence[str], weights: Sequence[float]) -> float:
        """Score the average of some models, and wait for it."""
        return float(results([self.start_scoring(models, weights)])[0])


def _average_and_score(
    method: str,
    models: Sequence[str],
    weights: Sequence[float],
    pack_uri: str,
    queries: int,
    threads: int,
    device: str,
    dtype: str,
    target: str | None,
) -> float:
    """Average models, keep the average where a folder is given, and score it; averages are of float32 weights."""
    torch.set_num_threads(threads)
    with ExitStack() as stack:
        folders = [stack.enter_context(local_folder(model)) for model in models]
        encoder = Encoder.load(folders[0]) if len(folders) == 1 else average(method, folders, weights)
    if target is not None:
        with writable_folder(target) as folder:
            save(encoder, folder)
    encoder.model.to(device, getattr(torch, dtype))
    return validation_score(encoder, pack_uri, queries)


def _model_roles(inputs: Mapping[str, Artifact]) -> list[str]:
    return sorted((role for role in inputs if role.startswith("model:")), key=lambda role: int(role[6:]))


def _models_of(trained: Artifact, late: bool) -> list[str]:
    """List the model directories of an artifact: late checkpoints, oldest first, then what the training ended with."""
    steps = trained.counts.get("late_steps", ()) if late else ()
    return [*(trained.at("late", str(step)) for step in steps), trained.at("model")]
