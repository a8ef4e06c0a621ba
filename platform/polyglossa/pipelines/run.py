"""Run a recipe: on the cluster or a Ray of its own, with a log, a ledger of its cost, and its results at the end."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from polyglossa import artifact, progress
from polyglossa.artifact import Artifact
from polyglossa.folders import absolute
from polyglossa.pipelines.family import build
from polyglossa.pipelines.graph import Node
from polyglossa.pipelines.memory import Peak, watch_memory
from polyglossa.pipelines.walk import run_nodes, walk
from polyglossa.recipe import Profile, Recipe


def run(recipe: Recipe, profile: Profile, *, until: str | None = None) -> dict[str, Artifact]:
    """Make every artifact of a recipe that is not there yet.

    Args:
        recipe: what to make.
        profile: where.
        until: stop after this stage (its nodes and what they need); None makes everything.

    Returns:
        Artifacts by node name.
    """
    return make(recipe, profile, _nodes(recipe, until))


def make(recipe: Recipe, profile: Profile, nodes: Sequence[Node]) -> dict[str, Artifact]:
    """Make the artifacts of some nodes that are not there yet; each node comes after those it reads."""
    root = absolute(recipe.root)
    log = recipe.logs / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    from polyglossa.pipelines.session import ray_session, terminate_as_interrupt

    started = time.monotonic()
    with terminate_as_interrupt(), progress.console(log), watch_memory() as peak:
        progress.say(f"{recipe.name}: {len(nodes)} artifacts under {root}; details in {log}")
        with ray_session(profile):
            made: list[str] = []

            def watched(group: Sequence[Node], *rest: Any) -> None:
                peak.stretch = group[0].name
                run_nodes(group, *rest, profile=profile)

            artifacts = walk(nodes, root, watched, made=made)
        if made:
            _record(root, time.monotonic() - started, peak, made)
        if "report" in artifacts:
            _show_results(root, artifacts["report"], artifacts.get("serve"))
    return artifacts


def _nodes(recipe: Recipe, until: str | None) -> list[Node]:
    if until == "tune":
        from polyglossa.pipelines.tune.plan import search_nodes

        return search_nodes(recipe)
    graph = build(recipe)
    return graph.until(until) if until else list(graph.nodes.values())


def _record(root: str, seconds: float, peak: Peak, made: Sequence[str]) -> None:
    """Add this invocation to the run's ledger: an interrupted run's cost is the sum of its parts."""
    ledger = f"{root}/invocations.json"
    entries = artifact.read_json(ledger) if artifact.exists(ledger) else []
    entry = {
        "wall_seconds": round(seconds, 1),
        "peak_memory_gib": round(peak.gib, 2),
        "peak_memory_gib_by_stage": peak.by_stretch,
        "made": list(made),
    }
    artifact.write_json(ledger, [*entries, entry])


def _show_results(root: str, report: Artifact, serve: Artifact | None) -> None:
    from polyglossa.report.table import results_table

    entries = artifact.read_json(f"{root}/invocations.json")
    results = {
        "wall_seconds": round(sum(entry["wall_seconds"] for entry in entries), 1),
        "peak_memory_gib": max(entry["peak_memory_gib"] for entry in entries),
        **report.read_json("results.json"),
    }
    artifact.write_json(f"{root}/results.json", results)
    progress.say()
    if serve is not None:
        progress.say(serve.read_json("check.json")["shown"])
        progress.say()
    progress.say(results_table(results))
    progress.say(f"results: {root}/results.json   report: {report.at('report.html')}")
