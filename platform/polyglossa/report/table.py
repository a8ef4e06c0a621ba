"""The results of a run as a table for the terminal."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from rich.table import Table

from polyglossa.report.results import retention

_EMBEDDED = ("cldr", "pydoc")


def results_table(results: Mapping[str, Any]) -> Table:
    """Lay out `results.json`: a row per member, the untrained model first.

    Args:
        results: what `family_results` returns; `wall_seconds` and `peak_memory_gib` go to the caption where they are.
    """
    rows = {"untrained": results["untrained"]} if "untrained" in results else {}
    rows |= results["members"]
    table = Table(title="Results on held-out data", caption=_caption(results), title_justify="left")
    table.add_column("model", no_wrap=True)
    cells = {name: [name] for name in rows}
    for heading, read in _columns(rows.values()).items():
        shown = [read(figures) for figures in rows.values()]
        if any(shown):  # what no model of the recipe is judged by takes no room
            table.add_column(heading, justify="right", no_wrap=heading == "parameters")
            for row, cell in zip(cells.values(), shown, strict=True):
                row.append(cell)
    for name, row in cells.items():
        table.add_row(*row, style="dim" if name == "untrained" else None)
    return table


def _columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    """Headings in order and how a cell is read: embedded sets under what they mean, other tasks under their names."""
    others = dict.fromkeys(task for figures in rows for task in figures.get("tasks", {}) if task not in _EMBEDDED)
    return {
        "parameters": lambda figures: f"{figures['parameters']:,}" if figures.get("parameters") else "",
        "names → English, accuracy": lambda figures: _score(figures.get("cldr_accuracy_mean")),
        "without equal names": lambda figures: _score(figures.get("cldr_accuracy_mean_distinct")),
        **{task: partial(_task, task) for task in others},
        "half width keeps": _half_width,
        "not distilled": lambda figures: _score(figures.get("without_distillation")),
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
