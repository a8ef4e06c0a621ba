"""Audit distillation: what a run's teachers gave it, and how near to them it came, by the terms of its loss."""

import posixpath
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from polyglossa.artifact import MANIFEST, MARKER, Artifact, exists, open_artifact
from polyglossa.recipe.outside import OutsideTeacher

_PUBLISHED = "distillation"
_EDGE = 0.1
"""Share of a run that stands for its start, and for its end."""


def audit_distillation(label: str, train: Artifact, records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Audit one run; None where nobody taught it.

    Args:
        label: of the run.
        train: its artifact.
        records: one per step, as in `metrics.jsonl`.

    Returns:
        `run`, `teachers`: {"name", "stored", "texts", "embedded", "width", "link"} (figures of stored states only), and
        `terms`: {name: mean at the start and at the end}.
    """
    roles = sorted(role for role in train.manifest["parents"] if role.partition(":")[0] == "teacher")
    if not roles:
        return None
    teachers = [_teacher(train.manifest["parents"][role]["uri"]) for role in roles]
    return {"run": label, "teachers": teachers, "terms": _terms(train.manifest["config"], records)}


def _teacher(uri: str) -> dict[str, Any]:
    """A store of teacher states, or the teacher itself, which then ran beside its student."""
    folder = uri.rstrip("/")
    name = posixpath.basename(folder).rpartition("-")[0]
    if not exists(posixpath.join(folder, MARKER)):
        return {"name": name, "stored": False}
    found = open_artifact(folder)
    link = posixpath.join("..", "..", *folder.split("/")[-2:], MANIFEST)
    if found.manifest["stage"] != "distill":
        return {"name": name, "stored": False, "link": link}
    outside = found.manifest["config"].get("outside")
    if outside is not None:
        model = OutsideTeacher.model_validate(outside).label
    else:
        model = posixpath.basename(found.manifest["parents"]["model"]["uri"]).rpartition("-")[0]
    figures = {figure: found.counts.get(figure) for figure in ("texts", "embedded", "width")}
    return {"name": model, "stored": True, "link": link, **figures}


def _terms(config: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    further = config.get("stage", {}).get("objective", {}).get("teacher_terms") or {}
    edge = max(1, int(len(records) * _EDGE))
    found = {}
    for name in (_PUBLISHED, *further):
        values = [record["terms"][name] for record in records if name in record.get("terms", {})]
        if values:
            found[name] = [fmean(values[:edge]), fmean(values[-edge:])]
    return found
