"""Trace every model of a report to the artifacts behind it, from their manifests."""

from collections.abc import Iterable, Mapping
from typing import Any

from polyglossa.artifact import MARKER, Artifact, exists, open_artifact


def lineage(artifacts: Iterable[Artifact]) -> list[dict[str, Any]]:
    """List the artifacts and all they were made from, parents before children.

    Args:
        artifacts: where to start. A parent that is no longer in storage is listed by its hash alone.

    Returns:
        {"hash", "name", "stage", "seconds", "counts", "parents": {role: hash}} per artifact.
    """
    nodes: dict[str, dict[str, Any]] = {}
    for artifact in artifacts:
        _visit(artifact.hash, artifact.manifest, nodes)
    return list(nodes.values())


def _visit(identity: str, manifest: Mapping[str, Any], nodes: dict[str, dict[str, Any]]) -> None:
    if identity in nodes:
        return
    for parent in manifest["parents"].values():
        if parent["hash"] in nodes:
            continue
        if exists(f"{parent['uri']}/{MARKER}"):
            _visit(parent["hash"], open_artifact(parent["uri"]).manifest, nodes)
        else:
            nodes[parent["hash"]] = {"hash": parent["hash"], "name": "no longer stored", "parents": {}}
    nodes[identity] = {
        "hash": identity,
        "name": manifest["name"],
        "stage": manifest["stage"],
        "seconds": manifest["wall_seconds"],
        "counts": {name: value for name, value in manifest["counts"].items() if isinstance(value, int | float)},
        "parents": {role: parent["hash"] for role, parent in manifest["parents"].items()},
    }
