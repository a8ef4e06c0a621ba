"""The family's results as plain data: what `results.json` holds. Pure: from evaluation summaries to figures.

`cldr_…` and `pydoc_…` figures are there where those held-out sets were evaluated; `tasks` holds every task's mean.
"""

from collections.abc import Mapping
from typing import Any

from polyglossa.errors import PolyglossaError
from polyglossa.recipe.sections.report import ReportConfig, ReportedMember

Summary = Mapping[str, Any]


def family_results(config: ReportConfig, summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """Put evaluations together by member.

    Args:
        config: members and the labels of their evaluations.
        summaries: `summary.json` of each evaluation, by label.

    Returns:
        `untrained` (of the first member that has one) and `members`, by name.
    """
    untrained = next((member.untrained for member in config.members if member.untrained), None)
    results: dict[str, Any] = {"members": {}}
    if untrained is not None:
        results["untrained"] = headline(summaries[untrained])
    for member in config.members:
        results["members"][member.name] = _member(member, summaries)
    return results


def headline(summary: Summary) -> dict[str, Any]:
    """Means of one model: those of the embedded corpus under their own names, and all by task."""
    tasks = summary["tasks"]
    figures: dict[str, Any] = {}
    if "cldr" in tasks:
        figures["cldr_accuracy_mean"] = tasks["cldr"]["mean"]
        if "mean_distinct" in tasks["cldr"]:
            figures["cldr_accuracy_mean_distinct"] = tasks["cldr"]["mean_distinct"]
    if "pydoc" in tasks:
        figures["pydoc_ndcg10"] = tasks["pydoc"]["mean"]
    figures["tasks"] = {name: task["mean"] for name, task in tasks.items()}
    return figures


def _member(member: ReportedMember, summaries: Mapping[str, Summary]) -> dict[str, Any]:
    summary = summaries[member.name]
    figures = _model(summary)
    if "cldr" in summary["tasks"]:
        figures["cldr_accuracy_by_language"] = summary["tasks"]["cldr"]["by_language"]
    if member.without_distillation is not None:
        figures["without_distillation"] = _model(summaries[member.without_distillation])
    if member.unmerged is not None:
        unmerged, main = summaries[member.unmerged]["tasks"], main_task_name(summary)
        if main in unmerged:  # it may be judged by fewer tasks than the member
            figures["unmerged"] = unmerged[main]["mean"]
    if "retention" in summary:
        figures["retention"] = summary["retention"]
    if "teacher_documents" in summary:
        figures["teacher_documents"] = summary["teacher_documents"]
    return figures


def _model(summary: Summary) -> dict[str, Any]:
    sizes = {"parameters": summary["parameters"], "dim": summary["dim"]}
    return {**sizes, **headline(summary), "widths": main_task(summary)["widths"]}


def main_task(summary: Summary) -> Mapping[str, Any]:
    """The task that stands for a model where one figure must."""
    task: Mapping[str, Any] = summary["tasks"][main_task_name(summary)]
    return task


def main_task_name(summary: Summary) -> str:
    """Name of that task: `cldr`, else the one with the most languages.

    Raises:
        PolyglossaError: every task failed.
    """
    tasks: Mapping[str, Mapping[str, Any]] = summary["tasks"]
    if not tasks:
        task, reason = next(iter(summary["failed"].items()), ("no task", "none was asked for"))
        raise PolyglossaError(f"{summary['model']}: nothing was judged, so nothing can be reported: {task}: {reason}")
    return "cldr" if "cldr" in tasks else max(tasks, key=lambda name: len(tasks[name]["by_language"]))


def retention(widths: Mapping[str, float], dim: int, share: float = 0.5) -> float | None:
    """Score at a share of the full width over the score at full width; None where that width was not scored."""
    cut, full = widths.get(str(int(dim * share))), widths.get(str(dim))
    return cut / full if cut is not None and full else None
