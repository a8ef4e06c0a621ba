"""Training curves small enough for a page: a few hundred points of a run, each the mean of the steps it stands for."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

POINTS = 160
FIGURES = ("loss", "grad_norm", "learning_rate", "tokens_per_second", "data_wait_share", "padding", "distillation")


def thin(records: Sequence[dict[str, Any]], points: int = POINTS) -> dict[str, list[float]]:
    """Average a run's metrics over equal spans of steps.

    Args:
        records: one per step, as in `metrics.jsonl`.
        points: how many are kept at most.

    Returns:
        `step` and a column per figure that the run recorded.
    """
    count = min(points, len(records))
    spans = [records[len(records) * i // count : len(records) * (i + 1) // count] for i in range(count)]
    columns: dict[str, list[float]] = {"step": [span[-1]["step"] + 1 for span in spans]}
    for figure in FIGURES:
        values = [[value for record in span if (value := _figure(record, figure)) is not None] for span in spans]
        if values and all(values):
            columns[figure] = [float(f"{fmean(span):.5g}") for span in values]
    return columns


def evaluation_curve(records: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Lay out the evaluations beside a training: `evaluation_step`, and the mean score as `evaluation`.

    Args:
        records: one per evaluation, as in `evaluations.jsonl`; those without a mean are left out.
    """
    scored = [record for record in records if record.get("mean") is not None]
    if not scored:
        return {}
    return {
        "evaluation_step": [record["step"] for record in scored],
        "evaluation": [float(f"{record['mean']:.5g}") for record in scored],
    }


def _figure(record: dict[str, Any], figure: str) -> float | None:
    seconds = record.get("seconds") or 0.0
    if figure == "tokens_per_second":
        return record["tokens"] / seconds if seconds and "tokens" in record else None
    if figure == "data_wait_share":
        return record["data_wait"] / seconds if seconds and "data_wait" in record else None
    if figure == "distillation":
        return record.get("terms", {}).get(figure)
    return record.get(figure)
