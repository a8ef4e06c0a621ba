"""Protects `plan`'s elapsed time: the executor's own order, simulated; near the bound; it says what binds."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polyglossa.capacity.elapsed import simulate_run
from polyglossa.capacity.estimate import CapacityPlan, estimate
from polyglossa.capacity.node_groups import read_groups
from polyglossa.cli.app import app
from polyglossa.costing.devices import DEVICES, Calibration
from polyglossa.pipeline.concurrent.schedule import Demand, Room, Scheduler, remaining_seconds
from polyglossa.pipeline.graph import Node
from polyglossa.recipe import load_profile, load_recipe
from polyglossa.recipe.strict import Strict

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "cluster/spec.yaml"


def large(times: int) -> CapacityPlan:
    """f2llm-v2 on its profile, with so many times the limits of the spec."""
    recipe = load_recipe(ROOT / "jobs/recipes/f2llm-v2.yaml")
    groups = read_groups(SPEC)
    limits = {
        name: {"machines": times * group.max, "cpus": group.cpus, "gpus": group.gpus} for name, group in groups.items()
    }
    profile = load_profile(ROOT / "cluster/profiles/f2llm-v2.yaml").changed(groups=limits)
    return estimate(recipe, profile, Calibration(DEVICES), groups)


@pytest.mark.parametrize("times", [1, 2])
def test_the_large_family_takes_hardly_longer_than_any_order_must(times: int) -> None:
    plan = large(times)
    assert plan.elapsed is not None
    bound = max(plan.longest_hours, plan.node_hours["train"] / (times * 8))
    assert plan.elapsed.seconds / 3600 <= 1.05 * bound
    assert plan.elapsed.bound / 3600 <= bound * 1.001
    assert plan.longest_hours < 300
    assert plan.elapsed.binding == ("train" if times == 1 else None)


def test_a_simulated_run_keeps_the_graphs_order_and_the_groups_limits() -> None:
    plan = large(1)
    assert plan.elapsed is not None
    runs = {run.name: run for run in plan.elapsed.runs}
    from polyglossa.pipeline.build import build

    graph = build(load_recipe(ROOT / "jobs/recipes/f2llm-v2.yaml"))
    assert set(runs) == set(graph.nodes)
    for node in graph.nodes.values():
        assert all(runs[name].ended <= runs[node.name].started + 1e-6 for name in node.inputs.values())
    taken = {node.name: node.taken for node in plan.nodes}
    for moment in {run.started for run in runs.values()}:
        held = [name for name, run in runs.items() if run.started <= moment < run.ended]
        assert sum(taken[name].nodes for name in held if taken[name].group == "train") <= 8


def test_two_of_a_group_for_one_wait_for_each_other_and_the_group_is_named() -> None:
    nodes = [Node(name, "train", Strict()) for name in "ab"]
    demands = {name: Demand("train", 8, 1, 1) for name in "ab"}
    seconds = {"a": 10.0, "b": 20.0}
    scheduler = Scheduler({"train": Room(1, 8, 8)}, demands, seconds, remaining_seconds(nodes, seconds))
    found = simulate_run(nodes, scheduler)
    assert (found.seconds, found.bound, found.binding, found.busiest) == (30.0, 30.0, "train", "train")
    assert found.waited == {"train": 20.0}


def test_the_plan_shows_elapsed_time_and_what_a_groups_limit_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = ["plan", "jobs/recipes/f2llm-v2.yaml", "--profile", "cluster/profiles/f2llm-v2.yaml"]
    shown = CliRunner().invoke(app, [*command, "--nodes", "train=2..16"])
    assert "the limit of group 'train' binds" in shown.output
    table = shown.output.split("nodes of train")[1].splitlines()
    assert "does not fit" in table[1]
    assert "longest path" in table[-1]
    data = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert data["elapsed"]["over_bound"] <= 1.05
    assert data["elapsed"]["binding_group"] == "train"


@pytest.mark.parametrize("given", ["train", "train=4", "train=9..4", "trian=1..2", "train=0..2"])
def test_a_range_of_limits_that_is_wrong_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, ["plan", "jobs/recipes/f2llm-v2.yaml", "--nodes", given])
    assert "--nodes" in str(done.exception)
