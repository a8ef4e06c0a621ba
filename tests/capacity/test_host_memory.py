"""Protects hosts from stages that do not fit them: memory of a node and of the head is counted, and refused by name."""

from pathlib import Path

import pytest

from polyglossa.capacity.estimate import CapacityPlan, estimate
from polyglossa.capacity.node_groups import read_groups, read_head
from polyglossa.costing.devices import DEVICES, Calibration
from polyglossa.costing.memory import GIB
from polyglossa.recipe import Profile, TrainPlacement, load_profile, load_recipe

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "cluster/spec.yaml"
PAPER = load_profile(ROOT / "cluster/profiles/f2llm-v2.yaml")


def planned(profile: Profile, *overrides: str, memory_gib: dict[str, int] | None = None) -> CapacityPlan:
    groups = {
        name: group.changed(memory_gib=(memory_gib or {}).get(name, group.memory_gib))
        for name, group in read_groups(SPEC).items()
    }
    head = read_head(SPEC)
    assert head is not None
    head = head.changed(memory_gib=(memory_gib or {}).get("head", head.memory_gib))
    recipe = load_recipe(ROOT / "jobs/recipes/f2llm-v2.yaml", overrides)
    return estimate(recipe, profile, Calibration(DEVICES), groups, None, head)


def test_the_paper_fits_its_hosts_and_every_node_of_a_group_says_what_it_takes() -> None:
    plan = planned(PAPER)
    assert not plan.misfits
    hosts = {node.name: node.host for node in plan.nodes if node.host is not None}
    assert {"corpus", "backbone.14b", "mine"} <= {name.partition("@")[0] for name in hosts} | {"mine"}
    assert all(host.total > host.process + host.task for host in hosts.values())


@pytest.mark.parametrize(
    ("group", "gib", "node", "said"),
    [
        ("cpu", 8, "corpus", "16 × task"),
        ("train", 64, "backbone.14b", "the stage's process 105"),
        ("head", 3, "head", "the cluster's own processes"),
    ],
)
def test_what_does_not_fit_a_host_is_refused_with_the_arithmetic(group: str, gib: int, node: str, said: str) -> None:
    plan = planned(PAPER, memory_gib={group: gib})
    refused = {misfit.node: str(misfit) for misfit in plan.misfits}
    assert said in refused[node]
    assert f"has {gib} GiB" in refused[node]


def test_a_training_on_processors_counts_its_states_in_the_hosts_memory() -> None:
    train = {**PAPER.train.model_dump(), "gpus": 0, "device": None, "workers": 2, "labels": {"group": "cpu"}}
    profile = PAPER.model_copy(update={"train": TrainPlacement.model_validate(train)})
    (node,) = (node for node in planned(profile).nodes if node.name == "train.14b.stage1")
    assert node.host is not None
    assert node.footprint is not None
    assert node.host.task > node.footprint.total / GIB > 10 * 13_990_394_880 / GIB


def test_mining_more_rows_than_a_host_holds_is_refused_until_they_are_capped() -> None:
    many = planned(PAPER, "expect.mined_rows=60000000")
    assert any(misfit.node.startswith("mine") for misfit in many.misfits)
    few = planned(PAPER, "expect.mined_rows=2000000")
    assert not any(misfit.node.startswith("mine") for misfit in few.misfits)
