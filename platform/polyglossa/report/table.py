"""The results of a run as a table for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from polyglossa.report.results import retention


def results_table(results: Mapping[str, Any]) -> Table:
    """Lay out `results.json`: a row per member, the untrained model first.

    Args:
        results: what `family_results` returns; `wall_seconds` and `peak_memory_gib` go to the caption where they are.
    """
    table = Table(title="Results on held-out data", caption=_caption(results), title_justify="left")
    table.add_column("model", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for heading in (
        "names → English, accuracy",
        "without equal names",
        "half width keeps",
        "not distilled",
        "code search, nDCG@10",
    ):
        table.add_column(heading, justify="right")
    if "untrained" in results:
        table.add_row(*_row("untrained", results["untrained"]), style="dim")
    for name, member in results["members"].items():
        table.add_row(*_row(name, member))
    return table


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    kept = retention(figures.get("widths", {}), figures["dim"]) if "dim" in figures else None
    parameters = figures.get("parameters")
    return [
        name,
        f"{parameters:,}" if parameters else "",
        _score(figures.get("cldr_accuracy_mean")),
        _score(figures.get("cldr_accuracy_mean_distinct")),
        f"{kept:.1%}" if kept is not None else "",
        _score(figures.get("without_distillation")),
        _score(figures.get("pydoc_ndcg10")),
    ]


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
