"""Which tasks of a benchmark a published model was trained on, as mteb's metadata lists its training data.

mteb compares names: a training set that is called like a task, or like one that the task was made from (a translation,
a part of it). Where only the names' stems agree (`SIB200` and `SIB200ClusteringS2S`), the same data is likely.
"""

import re
from collections.abc import Iterable
from typing import Any

import mteb

from polyglossa.evaluate.models.conditions import find_metadata
from polyglossa.evaluate.tasks.presets import BENCHMARKS
from polyglossa.recipe.sections.evaluate import EvaluateConfig

PEERS = tuple(f"codefuse-ai/F2LLM-v2-{size}" for size in ("80M", "160M", "330M", "0.6B", "1.7B", "4B", "8B", "14B"))
"""Models whose published scores reports show."""
_ENDING = re.compile(
    r"([-_.]?(pair|multilabel)?(classification|clustering|retrieval|reranking|bitextmining|hardnegatives|p2p|s2s|pc"
    r"|vn|nl|pl|fa|v\d+))+$"
)


def trained_on(config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """List what peers were trained on of the benchmarks that a recipe names.

    Args:
        config: names benchmarks.

    Returns:
        By benchmark, as mteb names it, and model: {"tasks": those that mteb counts, "likely": those of like names}; a
        model of which mteb tells no training data is left out.
    """
    told = {peer: names for peer in PEERS if (names := _training_sets(peer)) is not None}
    found: dict[str, dict[str, Any]] = {}
    for preset in config.benchmarks:
        benchmark = mteb.get_benchmark(BENCHMARKS.get(preset, preset))
        tasks = [task.metadata.name for task in benchmark.tasks]
        found[str(benchmark.name)] = {peer: match(tasks, names) for peer, names in told.items()}
    return found


def match(tasks: Iterable[str], training: Iterable[str]) -> dict[str, list[str]]:
    """Compare tasks with training sets, by name and by stem."""
    names = set(training)
    stems = {stem(name) for name in names}
    every = sorted(set(tasks))
    exact = [task for task in every if task in names]
    return {"tasks": exact, "likely": [task for task in every if task not in names and stem(task) in stems]}


def stem(name: str) -> str:
    """Return a name without case and without what tells kinds, languages and versions of one data set apart."""
    folded = name.casefold()
    return _ENDING.sub("", folded) or folded


def _training_sets(model: str) -> set[str] | None:
    """Data sets that mteb knows a model to be trained on, and those made from them."""
    meta, _ = find_metadata(model)
    return meta.get_training_datasets() if meta is not None else None
