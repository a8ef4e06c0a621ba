"""The report of a family: `results.json` for machines, `report.html` for people.

Inputs: `evaluate:<label>` for every label that the config names, `train:<run>` for curves, `corpus`, `mine` and
`mine.<stage>` where negatives were mined, and `own` where one's own data judges. Nothing heavy runs here, so there is
no Ray in it.
"""

import json
import posixpath
from collections.abc import Mapping
from typing import Any

from polyglossa.artifact import Artifact, Draft, exists, open_storage
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.report import ReportConfig
from polyglossa.report.curves import evaluation_curve, thin
from polyglossa.report.distillation_audit import audit_distillation
from polyglossa.report.lineage import lineage
from polyglossa.report.page import render_page
from polyglossa.report.peers import peers
from polyglossa.report.results import family_results

STAGE = "report"
REVISION = 3

_EVALUATE, _TRAIN, _MINE, _OWN = "evaluate:", "train:", "mine", "own"


def run(config: ReportConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: StagePlacement) -> None:
    """Write the report.

    Args:
        config: members and the labels of their evaluations.
        inputs: evaluations, training runs, corpus and mining by role.
        draft: takes `results.json` and `report.html`.
        placement: not used; a report is made where the pipeline runs.
    """
    summaries = {
        role.removeprefix(_EVALUATE): artifact.read_json("summary.json")
        for role, artifact in inputs.items()
        if role.startswith(_EVALUATE)
    }
    results = family_results(config, summaries)
    if _OWN in inputs:
        results["own"] = inputs[_OWN].read_json("own.json")
    draft.write_json(results, "results.json")
    filesystem, path = open_storage(draft.at("report.html"))
    with filesystem.open_output_stream(path) as stream:
        stream.write(render_page(page_data(config, summaries, inputs)).encode())
    draft.count(members=len(results["members"]), models=len(summaries))


def page_data(
    config: ReportConfig, summaries: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, Artifact]
) -> dict[str, Any]:
    """Gather all that the page shows."""
    speeds = {role.removeprefix(_EVALUATE): _speed(one) for role, one in inputs.items() if role.startswith(_EVALUATE)}
    names = ", ".join(member.name for member in config.members)
    runs = {role.removeprefix(_TRAIN): one for role, one in inputs.items() if role.startswith(_TRAIN)}
    metrics = {label: _lines(train, "metrics.jsonl") for label, train in runs.items()}
    audits = [audit_distillation(label, train, metrics[label]) for label, train in runs.items()]
    mined = {role: one for role, one in inputs.items() if one.manifest["stage"] == _MINE}
    return {
        "title": f"Polyglossa family: {names}",
        "members": [_member(member, summaries, speeds) for member in config.members],
        "languages": {code: about for one in summaries.values() for code, about in one["languages"].items()},
        "training": [
            {"label": label, "columns": thin(records) | evaluation_curve(_lines(runs[label], "evaluations.jsonl"))}
            for label, records in metrics.items()
        ],
        "corpus": inputs["corpus"].counts,
        "mine": {
            role: _audit(one.read_json("audit.json")) for role, one in mined.items() if exists(one.at("audit.json"))
        },
        "taught": [audit for audit in audits if audit is not None],
        "own": inputs[_OWN].read_json("own.json") if _OWN in inputs else None,
        "links": _links(inputs),
        "peers": peers(config, summaries),
        "lineage": lineage(inputs.values()),
    }


def _speed(evaluation: Artifact) -> float | None:
    """Milliseconds that one text takes, where it was measured."""
    if not exists(evaluation.at("speed.json")):
        return None
    milliseconds: float | None = evaluation.read_json("speed.json")["milliseconds_per_text"]
    return milliseconds


def _links(inputs: Mapping[str, Artifact]) -> dict[str, str]:
    """Pages of other artifacts, as this page reaches them: artifacts lie beside each other under one root."""
    pages = {"corpus": ("report", "corpus.html"), _MINE: ("report", "mining.html"), _OWN: ("own.html",)}
    return {
        role: posixpath.join("..", "..", *one.uri.rstrip("/").split("/")[-2:], *parts)
        for role, one in inputs.items()
        if (parts := pages.get(one.manifest["stage"])) is not None and exists(one.at(*parts))
    }


def _member(
    member: Any, summaries: Mapping[str, Mapping[str, Any]], speeds: Mapping[str, float | None]
) -> dict[str, Any]:
    def shown(label: str | None) -> dict[str, Any] | None:
        if label is None:
            return None
        summary = summaries[label]
        figures = {key: summary[key] for key in ("parameters", "dim", "tasks", "failed")}
        figures["milliseconds"] = speeds.get(label)
        if "retention" in summary:
            figures["retention"] = summary["retention"]
        # Which names equal the English one is a second mean; a second map of languages would only crowd the page.
        figures["tasks"] = {
            name: {key: value for key, value in _named(task).items() if key != "by_language_distinct"}
            for name, task in summary["tasks"].items()
        }
        return figures

    beside = {"untrained": shown(member.untrained), "without": shown(member.without_distillation)}
    return {"name": member.name, "teacher": member.teacher, **(shown(member.name) or {}), **beside}


def _named(task: Mapping[str, Any]) -> dict[str, Any]:
    """Call the one subset of a task by its language."""
    named = {"by_language": {task["language"]: task["mean"]}} if "language" in task else {}
    return {**task, **named}


def _audit(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what the page draws; languages and suspicious rows stay in the mining artifact."""
    kept = ("rows_mined", "negatives", "short_share", "positive_mean", "negative_mean")
    bars = ("positive_histogram", "negative_histogram")
    sources = {name: {key: source[key] for key in (*kept, *bars)} for name, source in audit["sources"].items()}
    return {"bins": audit["bins"], "sources": sources}


def _lines(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    """Read a JSON Lines file; none where it is not there."""
    if not exists(artifact.at(name)):
        return []
    filesystem, path = open_storage(artifact.at(name))
    with filesystem.open_input_stream(path) as stream:
        return [json.loads(line) for line in stream.read().decode().splitlines()]
