"""Run a recipe: on the cluster or a Ray of its own, with a log, a ledger of its cost, and its results at the end."""

import time
from collections.abc import Sequence
from datetime import datetime

from polyglossa import artifact
from polyglossa.artifact import Artifact
from polyglossa.extras import require_extras
from polyglossa.pipeline.build import build
from polyglossa.pipeline.execute import execute
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.own_outcome import show_own
from polyglossa.pipeline.promotion import previous_model
from polyglossa.pipeline.stages import STAGES, find_stage
from polyglossa.recipe import Profile, Recipe
from polyglossa.runtime import console
from polyglossa.runtime.memory import Peak, watch_memory
from polyglossa.storage import absolute


def run(recipe: Recipe, profile: Profile, *, until: str | None = None) -> dict[str, Artifact]:
    """Make every artifact of a recipe that is not there yet.

    Args:
        recipe: what to make.
        profile: where.
        until: stop after this stage (its nodes and what they need; `tune` is the recipe's search); None makes all but
            the search.

    Returns:
        Artifacts by node name.
    """
    return make(recipe, profile, _nodes_until(recipe, until))


def _nodes_until(recipe: Recipe, until: str | None) -> Sequence[Node]:
    stage = STAGES.get(until) if until is not None else None
    if stage is not None and stage.planner is not None:
        return stage.plan(recipe)
    graph = build(recipe, previous_model(recipe))
    return graph.until(until) if until is not None else list(graph.nodes.values())


def make(recipe: Recipe, profile: Profile, nodes: Sequence[Node]) -> dict[str, Artifact]:
    """Make the artifacts of some nodes that are not there yet; each node comes after those it reads.

    Raises:
        MissingExtra: a stage needs what is not installed.
    """
    for stage in {node.stage: find_stage(node.stage) for node in nodes}.values():
        require_extras(stage.extras, f"{recipe.name}: {stage.name}")
    root = absolute(recipe.root)
    log = recipe.logs / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    from polyglossa.runtime.session import ray_session, terminate_as_interrupt

    started = time.monotonic()
    with terminate_as_interrupt(), console.open_console(log), watch_memory() as peak:
        console.say(f"{recipe.name}: {len(nodes)} artifacts under {root}; details in {log}")
        with ray_session(profile):
            made: list[str] = []
            artifacts = execute(nodes, root, profile, started=lambda node: peak.enter(node.name), made=made)
        if made:
            _record(root, time.monotonic() - started, peak, made)
        if "report" in artifacts:
            _show_results(root, artifacts["report"], artifacts.get("serve"))
        if "own" in artifacts:
            show_own(recipe, artifacts["own"])
    return artifacts


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
    console.say()
    if serve is not None:
        console.say(serve.read_json("check.json")["shown"])
        console.say()
    console.say(results_table(results))
    console.say(f"results: {root}/results.json   report: {report.at('report.html')}")
