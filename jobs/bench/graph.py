"""Measure the executor: `python jobs/bench/graph.py [--nodes 200] [--depth 10]`.

A graph of nodes that do nothing shows what a node costs beside its work; `overhead_seconds_per_node` is the time from
the end of the first node to the end of the last over the nodes between, two at the same time, and `driver_mib` what the
run's own process holds (PSS). The plan of f2llm-v2 on its profile shows how near the order of nodes comes to the bound,
which is the larger of the longest path and the work of the busiest group over its machines. The last line is one JSON
object.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from polyglossa.artifact import Artifact, Draft
from polyglossa.capacity.estimate import estimate
from polyglossa.capacity.node_groups import read_groups
from polyglossa.costing.devices import DEVICES, Calibration
from polyglossa.lease import Claims
from polyglossa.pipeline.concurrent.executor import Execution
from polyglossa.pipeline.concurrent.node_task import run_node
from polyglossa.pipeline.concurrent.placing import rooms_of_this_ray
from polyglossa.pipeline.concurrent.schedule import Scheduler
from polyglossa.pipeline.concurrent.timeline import most_at_once
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.stages import Stage
from polyglossa.recipe import Profile, load_profile, load_recipe
from polyglossa.recipe.sections.report import ReportConfig, ReportedMember
from polyglossa.runtime.session import local_ray

ROOT = Path(__file__).resolve().parents[2]
PLACEMENT = "merge"  # one worker of one CPU


class Nothing:
    """A stage's module that writes an empty artifact."""

    @staticmethod
    def run(config: Any, inputs: Mapping[str, Artifact], draft: Draft, placement: object) -> None:
        """Write one small file."""
        draft.write_json({}, "nothing.json")


@dataclass(frozen=True)
class NothingStage(Stage):
    """A stage that does nothing; its addresses are the report's."""

    def load(self) -> Any:
        """Return what runs."""
        return Nothing


def main() -> None:
    """Run the graph, plan the large recipe, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--depth", type=int, default=10)
    given = parser.parse_args()
    print(json.dumps({**run(layers(given.nodes, given.depth)), **plan()}))


def layers(count: int, depth: int) -> list[Node]:
    """Nodes in layers; each reads two of the layer before."""
    width = count // depth
    nodes = []
    for place in range(count):
        layer, column = divmod(place, width)
        names = [f"n{(layer - 1) * width + (column + step) % width}" for step in (0, 1)] if layer else []
        config = ReportConfig(members=(ReportedMember(name=f"n{place}"),))
        nodes.append(Node(f"n{place}", "report", config, {f"role{index}": name for index, name in enumerate(names)}))
    return nodes


def run(nodes: list[Node]) -> dict[str, float]:
    """Execute nodes that do nothing, two at the same time."""
    stages = {"report": NothingStage("report", ReportConfig, "", "polyglossa.report.cost", PLACEMENT)}
    with tempfile.TemporaryDirectory() as root, Claims(root) as claims, local_ray(cpus=2, object_store_gib=0.3):
        scheduler = Scheduler.of(nodes, Profile(), rooms_of_this_ray(Profile(), {}), {}, stages)
        execution = Execution(nodes, root, Profile(), scheduler, claims, run_node, stages=stages)
        execution.run()
        pss = psutil.Process().memory_full_info().pss
    ended = sorted(stay.ended or 0.0 for stay in execution.stays.values())
    return {
        "nodes": len(nodes),
        "overhead_seconds_per_node": round((ended[-1] - ended[0]) / (len(ended) - 1), 4),
        "first_node_seconds": round(ended[0], 2),
        "nodes_at_once": most_at_once(list(execution.stays.values())),
        "driver_mib": round(pss / 2**20, 1),
    }


def plan() -> dict[str, float]:
    """Simulate f2llm-v2 with the limits of its profile, and with twice of them."""
    recipe = load_recipe(ROOT / "jobs/recipes/f2llm-v2.yaml")
    profile = load_profile(ROOT / "cluster/profiles/f2llm-v2.yaml")
    groups = read_groups(ROOT / "cluster/spec.yaml")
    twice = {
        name: {"machines": 2 * group.max, "cpus": group.cpus, "gpus": group.gpus} for name, group in groups.items()
    }
    planned = estimate(recipe, profile, Calibration(DEVICES), groups)
    doubled = estimate(recipe, profile.changed(groups=twice), Calibration(DEVICES), groups)
    assert planned.elapsed is not None
    assert doubled.elapsed is not None
    return {
        "elapsed_hours_f2llm": round(planned.elapsed.seconds / 3600, 1),
        "elapsed_over_bound_f2llm": round(planned.elapsed.seconds / planned.elapsed.bound, 4),
        "elapsed_over_bound_f2llm_twice": round(doubled.elapsed.seconds / doubled.elapsed.bound, 4),
        "longest_path_hours_f2llm": round(planned.longest_hours, 1),
    }


if __name__ == "__main__":
    main()
