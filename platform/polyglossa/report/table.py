"""The results of a run as a table for the terminal."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from rich.table import Table

from polyglossa.report.results import retention

_EMBEDDED = ("cldr", "pydoc")


def results_table(results: Mapping[str, Any]) -> Table:
    """Lay out `results.json`: the untrained model, then each member and what it is without its teacher.

    Models stand in rows, or in columns where a recipe has more tasks than models: the longer side goes down.

    Args:
        results: what `family_results` returns; `wall_seconds` and `peak_memory_gib` go to the caption where they are.
    """
    models = _models(results)
    grid = {
        heading: [read(figures) for figures in models.values()] for heading, read in _figures(models.values()).items()
    }
    grid = {heading: cells for heading, cells in grid.items() if any(cells)}  # what judges no model takes no room
    table = Table(title="Results on held-out data", caption=_caption(results), title_justify="left")
    if len(grid) > len(models) + 2:
        table.add_column("")
        for name in models:
            table.add_column(name, justify="right")
        for heading, cells in grid.items():
            table.add_row(heading, *cells)
    else:
        table.add_column("model", no_wrap=True)
        for heading in grid:
            table.add_column(heading, justify="right", no_wrap=heading == "parameters")
        for name, *cells in zip(models, *grid.values(), strict=True):
            table.add_row(name, *cells, style="dim" if name == "untrained" else None)
    return table


def _models(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Figures of every model that is shown, by the name it is shown under."""
    models = {"untrained": results["untrained"]} if "untrained" in results else {}
    for name, figures in results["members"].items():
        models[name] = figures
        if "without_distillation" in figures:
            models[f"{name}, not distilled"] = figures["without_distillation"]
    return models


def _figures(rows: Iterable[Mapping[str, Any]]) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    """Headings in order and how a cell is read: embedded sets under what they mean, other tasks under their names."""
    others = dict.fromkeys(task for figures in rows for task in figures.get("tasks", {}) if task not in _EMBEDDED)
    return {
        "parameters": lambda figures: f"{figures['parameters']:,}" if figures.get("parameters") else "",
        "names → English, accuracy": lambda figures: _score(figures.get("cldr_accuracy_mean")),
        "without equal names": lambda figures: _score(figures.get("cldr_accuracy_mean_distinct")),
        **{task: partial(_task, task) for task in others},
        "half width keeps": _half_width,
        "code search, nDCG@10": lambda figures: _score(figures.get("pydoc_ndcg10")),
    }


def _task(task: str, figures: Mapping[str, Any]) -> str:
    return _score(figures.get("tasks", {}).get(task))


def _half_width(figures: Mapping[str, Any]) -> str:
    kept = retention(figures.get("widths", {}), figures["dim"]) if "dim" in figures else None
    return f"{kept:.1%}" if kept is not None else ""


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _caption(results: Mapping[str, Any]) -> str | None:
    parts = []
    if "wall_seconds" in results:
        minutes, seconds = divmod(round(results["wall_seconds"]), 60)
        parts.append(f"{minutes} min {seconds} s")
    if "peak_memory_gib" in results:
        parts.append(f"peak memory {results['peak_memory_gib']:.1f} GiB")
    return ", ".join(parts) or None
