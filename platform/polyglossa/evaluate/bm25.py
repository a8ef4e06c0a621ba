"""The stage `bm25`: the baseline's scores (`scoring.bm25`) as an artifact. No model, no Ray.

It is laid out like an evaluation's (`summary.json`, `samples/`), so that it is compared like one.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from polyglossa.artifact import Artifact, Draft
from polyglossa.evaluate.plan import files_fingerprint, place_paths
from polyglossa.evaluate.scoring.outcome import write_samples
from polyglossa.evaluate.scoring.statistics import interval
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.own import Bm25Config

STAGE = "bm25"
REVISION = 1

NAME = "BM25"


def run(config: Bm25Config, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Judge BM25.

    Args:
        config: the tasks; scored pairs and bitext are passed over.
        inputs: none.
        draft: takes `summary.json` and `samples/`.
        placement: not used; it runs where the pipeline runs.
    """
    from polyglossa.evaluate.scoring.bm25 import judge_task  # mteb, which working out the artifact's key does without

    tasks: dict[str, Any] = {}
    for task in (place_paths(one, config.data) for one in config.local):
        samples, about = judge_task(task)
        if samples:
            write_samples(draft, task.name, samples)
            by_language = {subset: one.statistic() for subset, one in samples.items()}
            around = interval(samples, resamples=config.resamples, seed=config.seed)
            figures = {"mean": fmean(by_language.values()), "by_language": by_language, "interval": list(around)}
            tasks[task.name] = {**about, **figures}
    draft.write_json({"model": NAME, "tasks": tasks}, "summary.json")
    draft.count(tasks=len(tasks), **{name: figures["mean"] for name, figures in tasks.items()})


def input_fingerprint(config: Bm25Config) -> str | None:
    """Hash the files of the tasks, for the artifact's key."""
    return files_fingerprint(config.local, config.data)
