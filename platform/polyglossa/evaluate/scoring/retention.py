"""What vectors keep of their score when they are cut and compressed: plain figures from an evaluation's summary."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

FLOAT = "float32"
_ORDER = (FLOAT, "int8", "binary", "binary_rescored")


def retention(figures: Mapping[str, Any], dim: int) -> dict[str, dict[str, float]]:
    """Divide a task's scores by that of its float vectors at the full width.

    Args:
        figures: of a task, as in `summary.json`.
        dim: the full width.

    Returns:
        Share by form (`float32` and those of `compressed`) and width; empty where nothing was compressed, or the full
        score is not above 0.
    """
    full = figures["widths"][str(dim)]
    if not figures.get("compressed") or full <= 0:
        return {}
    forms = {FLOAT: figures["widths"], **figures["compressed"]}
    return {form: {width: score / full for width, score in widths.items()} for form, widths in forms.items()}


def mean_retention(tasks: Mapping[str, Mapping[str, Any]], dim: int) -> dict[str, dict[str, float]]:
    """Average retention over the tasks that have it, by form and width; a form that searches alone have, over them.

    Args:
        tasks: figures by task, as in `summary.json`.
        dim: the full width.
    """
    shares: dict[str, dict[str, list[float]]] = {}
    for figures in tasks.values():
        for form, widths in retention(figures, dim).items():
            for width, share in widths.items():
                shares.setdefault(form, {}).setdefault(width, []).append(share)
    return {form: {width: fmean(found) for width, found in widths.items()} for form, widths in shares.items()}


def kept_by_form(summary: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Read a summary's mean retention, the least compressed form first; JSON keeps no order."""
    found: Mapping[str, Mapping[str, float]] = summary.get("retention", {})
    return {form: found[form] for form in _ORDER if form in found}


def retention_lines(summary: Mapping[str, Any]) -> list[str]:
    """Lay a summary's mean retention out as a Markdown table, a width a row; nothing where nothing was compressed."""
    found = kept_by_form(summary)
    if not found:
        return []
    widths = sorted(found[FLOAT], key=int, reverse=True)
    rows = [f"| {width} | " + " | ".join(_share(found[form].get(width)) for form in found) + " |" for width in widths]
    heading = f"| width | {' | '.join(found)} |"
    return [
        "",
        "Score kept by cut and compressed vectors, of that of float32 at the full width, averaged over tasks:",
        "",
        heading,
        "|---|" + "---|" * len(found),
        *rows,
    ]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
