"""Summarise a search from its journal: table, winner, Pareto front, importance of each parameter. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna

from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.tune.journal import TrialRecord
from polyglossa.tune.propose import Observation, Space, Values, study_of

_LEAST_TRIALS = 4  # fewer say nothing about what matters


def best_of(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The finished trial with the highest score; None where none has finished."""
    finished = [record for record in trials if record.state == "finished"]
    return max(finished, key=lambda record: record.last["score"] if record.last else 0.0, default=None)


def pareto(trials: Sequence[TrialRecord], costs: Sequence[str] = ("parameters",)) -> list[int]:
    """Numbers of the finished trials that no other beats in score and every cost at once, the cheapest first.

    Args:
        trials: all.
        costs: figures of the last report that should be low.
    """
    points = {
        record.number: (-record.last["score"], *(record.last[cost] for cost in costs))
        for record in trials
        if record.state == "finished" and record.last
    }
    front = [
        number
        for number, own in points.items()
        if not any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in points.values())
    ]
    return sorted(front, key=lambda number: points[number][1:])


def complete_values(paths: Sequence[str], own: Values, values: Values) -> Values:
    """Values of every field: a trial's, or the recipe's own where the trial does not say."""
    return {path: values.get(path, own.get(path)) for path in paths}


def comparable_step(trials: Sequence[TrialRecord]) -> int | None:
    """The last step at which at least half of all trials reported: where they can be compared."""
    steps = [rung["step"] for record in trials for rung in record.rungs if "failed" not in rung]
    reached = {step: steps.count(step) for step in set(steps)}
    return max((step for step, count in reached.items() if count >= max(_LEAST_TRIALS, len(trials) / 2)), default=None)


def importance(config: TuneConfig, trials: Sequence[TrialRecord], own: Values) -> dict[str, float]:
    """Share of the scores' variance that each parameter accounts for (fANOVA, Hutter et al. 2014), largest first.

    Judged at the last step that half of the trials reached, so that stopped trials count. Empty where too few did, and
    of listed variants, which no space relates to each other.

    Args:
        config: the search.
        trials: all.
        own: the recipe's own value of each dimension.
    """
    if not config.space:
        return {}
    step = comparable_step(trials)
    known: list[Observation] = []
    for record in trials:
        scores = {rung["step"]: rung["score"] for rung in record.rungs if "failed" not in rung}
        values = complete_values(config.paths, own, record.values)
        if step in scores and all(_in_space(config.space, path, value) for path, value in values.items()):
            known.append(Observation(values, "finished", objectives=(scores[step],)))
    if len(known) < _LEAST_TRIALS or len({one.objectives for one in known}) == 1:
        return {}
    single = config.model_validate({**config.model_dump(by_alias=True), "objectives": ("quality",)})
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=config.seed)
    found = optuna.importance.get_param_importances(study_of(single, known), evaluator=evaluator)
    return {path: float(share) for path, share in sorted(found.items(), key=lambda item: -item[1])}


def _in_space(space: Space, path: str, value: Any) -> bool:
    listed = space[path].values
    if listed is not None:
        return value in listed
    low, high = space[path].probes
    return isinstance(value, int | float) and float(low or 0) <= value <= float(high or 0)


def table(config: TuneConfig, trials: Sequence[TrialRecord], best: int | None, front: Sequence[int]) -> str:
    """List all trials as text, best first: score, interval, steps, parameters, values."""
    ranked = sorted(trials, key=lambda record: (record.state != "finished", -(record.last or {"score": 0})["score"]))
    head = [
        "trial",
        "state",
        "score",
        "95 %",
        "steps",
        "parameters",
        *(path.split(".", 1)[-1] for path in config.paths),
    ]
    rows = [head, *([*_figures(record, best, front), *_format_values(config, record)] for record in ranked)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    failed = [f"trial {record.number}: {record.reason}" for record in trials if record.state == "failed"]
    return "\n".join([*lines, "", "* best, + on the Pareto front of score and parameters", *failed]) + "\n"


def _figures(record: TrialRecord, best: int | None, front: Sequence[int]) -> list[str]:
    mark = "*" if record.number == best else "+" if record.number in front else ""
    last = record.last
    if last is None or "failed" in last:
        return [f"{record.number}{mark}", record.state, "–", "–", "–", "–"]
    parameters = f"{last['parameters']:,}" if "parameters" in last else "–"
    interval = f"{last['low']:.4f}–{last['high']:.4f}"
    return [f"{record.number}{mark}", record.state, f"{last['score']:.4f}", interval, str(last["step"]), parameters]


def _format_values(config: TuneConfig, record: TrialRecord) -> list[str]:
    values = [record.values.get(path) for path in config.paths]
    if not record.values:
        return ["recipe's"] * len(values)
    return [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]


def stopped_share(trials: Sequence[TrialRecord]) -> float:
    """Share of the trials that were stopped early."""
    return float(np.mean([record.state == "stopped" for record in trials])) if trials else 0.0
