"""Run a recipe: on the cluster or a Ray of its own, with a log, a ledger of its cost, and its results at the end.

Beside the artifacts a run keeps, under its root: `invocations.json` (what each invocation cost), `timelines/` (which
node ran when), `results.json`, and `report.html`, which is the report's page with the timeline of the invocation.
"""

import posixpath
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from polyglossa import artifact
from polyglossa.artifact import Artifact, open_storage
from polyglossa.evaluate.plan import unreadable_tasks
from polyglossa.extras import require_extras
from polyglossa.lease import Claims, held
from polyglossa.pipeline.build import build
from polyglossa.pipeline.concurrent.schedule import Room, Scheduler
from polyglossa.pipeline.concurrent.timeline import Stay, drawing, most_at_once, plain
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.own_outcome import show_own
from polyglossa.pipeline.promotion import previous_model
from polyglossa.pipeline.stages import STAGES, find_stage_of
from polyglossa.recipe import Profile, Recipe
from polyglossa.runtime import console
from polyglossa.runtime.memory import Peak, watch_memory
from polyglossa.storage import absolute

_LEDGER = "invocations"
_LINK = re.compile(r'"\.\./\.\./(?=[^"<>]*\.html")')
"""Start of a report's link to a page of another artifact, two folders up from its own."""


@dataclass(frozen=True)
class Forecast:
    """What is known of a run before it starts: how long nodes take, and what the cluster may grow to."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """By node; those that are missing take their stage's start."""
    rooms: Mapping[str, Room] = field(default_factory=dict)
    """By group; of a group that is missing one node at a time is taken."""

    def of(self, nodes: Sequence[Node]) -> dict[str, float]:
        """Seconds of every node."""
        return {node.name: self.seconds.get(node.name, find_stage_of(node).cost.start_seconds) for node in nodes}


def run(
    recipe: Recipe,
    profile: Profile,
    *,
    until: str | None = None,
    forecast: Forecast | None = None,
    fail_fast: bool = False,
) -> dict[str, Artifact]:
    """Make every artifact of a recipe that is not there yet.

    Args:
        recipe: what to make.
        profile: where.
        until: stop after this stage (its nodes and what they need; `tune` is the recipe's search); None makes all but
            the search.
        forecast: seconds of nodes and limits of groups: decide what starts first, and what runs at the same time.
        fail_fast: whether the first node that fails stops the others.

    Returns:
        Artifacts by node name.
    """
    return make(recipe, profile, _nodes_until(recipe, until), forecast=forecast, fail_fast=fail_fast)


def _nodes_until(recipe: Recipe, until: str | None) -> Sequence[Node]:
    stage = STAGES.get(until) if until is not None else None
    if stage is not None and stage.planner is not None:
        return stage.plan(recipe)
    graph = build(recipe, previous_model(recipe))
    return graph.until(until) if until is not None else list(graph.nodes.values())


def make(
    recipe: Recipe,
    profile: Profile,
    nodes: Sequence[Node],
    *,
    forecast: Forecast | None = None,
    fail_fast: bool = False,
) -> dict[str, Artifact]:
    """Make the artifacts of some nodes that are not there yet.

    Raises:
        MissingExtra: a stage needs what is not installed.
        RecipeError: a group of the profile can never hold a node.
        DataError: no task is there to judge by.
        PolyglossaError: nodes failed.
    """
    for stage in {node.stage: find_stage_of(node) for node in nodes}.values():
        require_extras(stage.extras, f"{recipe.name}: {stage.name}")
    lost = unreadable_tasks(recipe.evaluate) if any(node.stage == "evaluate" for node in nodes) else {}
    known = forecast or Forecast()
    seconds = known.of(nodes)
    Scheduler.of(nodes, profile, known.rooms, seconds)  # refuses before Ray starts
    root = absolute(recipe.root)
    log = recipe.logs / f"{datetime.now():%Y%m%d-%H%M%S}.log"
    from polyglossa.pipeline.concurrent.executor import Execution
    from polyglossa.pipeline.concurrent.node_task import run_node
    from polyglossa.pipeline.concurrent.placing import rooms_of_this_ray
    from polyglossa.runtime.session import ray_session, terminate_as_interrupt

    started = time.monotonic()
    with (
        terminate_as_interrupt(),
        console.open_console(log),
        watch_memory() as peak,
        Claims(root) as claims,  # left when Ray is down, and nothing of this run can write any more
    ):
        console.say(f"{recipe.name}: {len(nodes)} artifacts under {root}; details in {log}")
        for task, reason in lost.items():
            console.say(f"{task} will not be judged: {reason}")
        with ray_session(profile):
            scheduler = Scheduler.of(nodes, profile, rooms_of_this_ray(profile, known.rooms), seconds)
            execution = Execution(
                nodes,
                root,
                profile,
                scheduler,
                claims,
                run_node,
                fail_fast=fail_fast,
                changed=lambda names: peak.enter(*names),
            )
            try:
                artifacts = execution.run()
            finally:
                stays = list(execution.stays.values())
                if any(stay.seconds for stay in stays):
                    _record(root, time.monotonic() - started, peak, execution.made, stays)
        if "report" in artifacts:
            _show_results(root, artifacts["report"], artifacts.get("serve"), stays)
        if "own" in artifacts:
            show_own(recipe, artifacts["own"])
    return artifacts


def _record(root: str, seconds: float, peak: Peak, made: Sequence[str], stays: Sequence[Stay]) -> None:
    """Add this invocation to the run's ledger: an interrupted run's cost is the sum of its parts."""
    name = f"{datetime.now():%Y%m%d-%H%M%S-%f}.json"
    artifact.place_json(f"{root}/timelines/{name}", plain(stays))
    entry = {
        "wall_seconds": round(seconds, 1),
        "peak_memory_gib": round(peak.gib, 2),
        "peak_memory_gib_by_stage": peak.by_stretch,
        "most_nodes_at_once": most_at_once(stays),
        "timeline": f"timelines/{name}",
        "made": list(made),
    }
    with held(root, _LEDGER):
        ledger = f"{root}/{_LEDGER}.json"
        entries = artifact.read_json(ledger) if artifact.exists(ledger) else []
        artifact.place_json(ledger, [*entries, entry])


def _show_results(root: str, report: Artifact, serve: Artifact | None, stays: Sequence[Stay]) -> None:
    from polyglossa.report.table import results_table

    ledger = f"{root}/{_LEDGER}.json"
    entries = artifact.read_json(ledger) if artifact.exists(ledger) else []
    results = {
        "wall_seconds": round(sum(entry["wall_seconds"] for entry in entries), 1),
        "peak_memory_gib": max((entry["peak_memory_gib"] for entry in entries), default=0.0),
        **report.read_json("results.json"),
    }
    with held(root, "results"):
        artifact.place_json(f"{root}/results.json", results)
        page = _page(root, report, stays)
    console.say()
    if serve is not None:
        console.say(serve.read_json("check.json")["shown"])
        console.say()
    console.say(results_table(results))
    console.say(f"results: {root}/results.json   report: {page}")


def _page(root: str, report: Artifact, stays: Sequence[Stay]) -> str:
    """Put the timeline of what ran last into a copy of the report's page, whose links lead from the run's folder."""
    target = f"{root}/report.html"
    if artifact.exists(target) and not any(stay.seconds for stay in stays):
        return target
    filesystem, path = open_storage(report.at("report.html"))
    with filesystem.open_input_file(path) as stream:
        page = stream.read().decode()
    artifacts = posixpath.normpath(posixpath.join(posixpath.relpath(report.uri, root), "..", ".."))
    page = _LINK.sub(f'"{artifacts}/', page)
    before, closing, after = page.rpartition("</main>")
    with artifact.placed_file(target) as stream:
        stream.write(f"{before}{drawing(stays)}{closing}{after}".encode())
    return target
