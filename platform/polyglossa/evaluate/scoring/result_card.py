"""The model card: what a model scored, in the metadata that model hubs and leaderboards read."""

from collections.abc import Mapping
from typing import Any

import yaml

from polyglossa.evaluate.scoring.retention import retention_lines

UNCHECKED_MARK = "†"
UNCHECKED_MEANING = "The training corpus was not checked against this task's texts."


def model_card(summary: Mapping[str, Any]) -> str:
    """Write a card (Markdown with a YAML head) from an evaluation's summary."""
    name = summary["model"].rpartition("/")[2]
    languages = sorted({subset.partition("_")[0] for subset, about in summary["languages"].items() if about["script"]})
    head = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "feature-extraction",
        "tags": ["mteb", "sentence-transformers", "matryoshka"],
        "language": [language for language in languages if len(language) == 3],
        "model-index": [{"name": name, "results": [_result(*item) for item in summary["tasks"].items()]}],
    }
    parameters = f"{summary['parameters']:,} parameters, " if summary["parameters"] else ""
    lines = [
        f"# {name}",
        "",
        f"{parameters}vectors of {summary['dim']} numbers; revision `{summary['revision']}`.",
        "",
        "| task | metric | mean | 95 % interval |",
        "|---|---|---|---|",
        *(_row(task, figures) for task, figures in summary["tasks"].items()),
    ]
    lines += retention_lines(summary)
    if any(figures.get("contaminated") for figures in summary["tasks"].values()):
        lines += ["", f"{UNCHECKED_MARK} {UNCHECKED_MEANING}"]
    lines += [
        f"\n{task}: {notice}" for task, figures in summary["tasks"].items() for notice in figures.get("notices", ())
    ]
    if summary["failed"]:
        lines += ["", "Not judged: " + "; ".join(f"{task} ({why})" for task, why in summary["failed"].items())]
    return "---\n" + yaml.safe_dump(head, sort_keys=False, allow_unicode=True) + "---\n" + "\n".join(lines) + "\n"


def _result(task: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": {"type": figures["type"]},
        "dataset": {"name": task, "type": task},
        "metrics": [{"type": figures["metric"], "value": round(100 * figures["mean"], 3)}],
    }


def _row(task: str, figures: Mapping[str, Any]) -> str:
    low, high = figures.get("interval") or (None, None)
    around = f"{low:.4f} – {high:.4f}" if low is not None else ""
    mark = f" {UNCHECKED_MARK}" if figures.get("contaminated") else ""
    return f"| {task}{mark} | {figures['metric']} | {figures['mean']:.4f} | {around} |"
