"""Peers' published figures beside ours, on the benchmarks that a member was judged by as a whole. Pure."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from polyglossa.recipe.sections.report import ReportConfig


def published_scores() -> dict[str, Any]:
    """Means over the tasks of a benchmark as their authors published them, and where."""
    return dict(json.loads(files("polyglossa.report").joinpath("peers.json").read_text(encoding="utf-8")))


def peers(config: ReportConfig, summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Put members and peers side by side; None where no member was judged by a benchmark that a peer published.

    Args:
        config: members and the labels of their evaluations.
        summaries: `summary.json` of each evaluation, by label.

    Returns:
        `source`, `benchmarks` (names), and `rows`: {"name", "parameters", "dim", "ours", "means": {benchmark: mean},
        "left_out": {benchmark: tasks that our mean leaves out}, "trained_on": {benchmark: {"tasks", "likely"}}, tasks
        that are not zero-shot for a peer, by mteb's list of its training data and by like names}.
    """
    theirs = published_scores()
    known = {name for model in theirs["models"] for name in model["benchmarks"]}
    rows = []
    for member in config.members:
        summary = summaries[member.name]
        evaluated = {name: one for name, one in summary.get("benchmarks", {}).items() if name in known and one["tasks"]}
        if evaluated:
            means = {name: one["mean"] for name, one in evaluated.items()}
            left_out = {name: one["left_out"] for name, one in evaluated.items() if one["left_out"]}
            ours = {"name": member.name, "ours": True, "means": means, "left_out": left_out, "trained_on": {}}
            rows.append({**_size(summary), **ours})
    shared = sorted({name for row in rows for name in row["means"]})
    if not shared:
        return None
    for model in theirs["models"]:
        means = {name: model["benchmarks"][name] for name in shared if name in model["benchmarks"]}
        trained_on = {name: found for name in means if (found := _trained_on(model["metadata"], name, summaries))}
        peer = {"name": model["name"], "ours": False, "means": means, "left_out": {}, "trained_on": trained_on}
        rows.append({**_size(model), **peer})
    return {"source": theirs["source"], "benchmarks": shared, "rows": rows}


def _trained_on(peer: str, benchmark: str, summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Tasks of a benchmark that a peer was trained on, as the evaluations looked it up; None where there are none."""
    for summary in summaries.values():
        told = summary.get("benchmarks", {}).get(benchmark, {}).get("trained_on", {}).get(peer)
        if told is not None:
            return dict(told) if told["tasks"] or told["likely"] else None
    return None


def _size(model: Mapping[str, Any]) -> dict[str, Any]:
    return {"parameters": model["parameters"], "dim": model["dim"]}
