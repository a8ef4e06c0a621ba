"""Protects the cluster's order: longest path first, gangs whole or not at all, limits kept, misfits refused early."""

import pytest

from pipeline.toy_stages import toy_stages
from polyglossa.capacity.elapsed import simulate_run
from polyglossa.errors import ArtifactError, RecipeError
from polyglossa.pipeline.concurrent.schedule import (
    DRIVER,
    MACHINE,
    Demand,
    Room,
    Running,
    Scheduler,
    check_order,
    demand_of,
    fits,
    remaining_seconds,
)
from polyglossa.pipeline.graph import Node
from polyglossa.recipe import Profile
from polyglossa.recipe.strict import Strict

GPUS = Room(2, 16, 8)
TRAIN = {"workers": 8, "cpus": 2, "gpus": 1, "labels": {"group": "train"}}


class Evaluated(Strict):
    """A configuration that asks for evaluations beside the training."""

    evaluation: str = "cldr"


def node(name: str, *reads: str, stage: str = "train") -> Node:
    return Node(name, stage, Strict(), {f"role{index}": one for index, one in enumerate(reads)})


def scheduler(demands: dict[str, Demand], seconds: dict[str, float], room: Room, cap: int | None = None) -> Scheduler:
    return Scheduler({"g": room}, demands, seconds, seconds, cap)


def whole(machines: int) -> Demand:
    return Demand("g", 8 * machines, 2, 1)


def test_the_longest_remaining_path_goes_first() -> None:
    nodes = [node("short"), node("long"), node("after", "long")]
    assert remaining_seconds(nodes, {"short": 5, "long": 3, "after": 4}) == {"short": 5, "long": 7, "after": 4}
    plan = scheduler({"a": whole(1), "b": whole(1), "c": whole(1)}, {"a": 1, "b": 9, "c": 5}, GPUS)
    assert plan.start(["a", "b", "c"], []) == ["b", "c"]


def test_a_gang_starts_whole_or_not_at_all() -> None:
    plan = scheduler({"a": whole(2), "b": whole(2)}, {"a": 2, "b": 1}, GPUS)
    assert plan.start(["a", "b"], []) == ["a"]
    assert plan.start(["b"], [Running("x", whole(1), 10)]) == []


def test_workers_of_a_gang_may_lie_on_several_machines_beside_others() -> None:
    assert fits(GPUS, [Demand("g", 12, 2, 1), Demand("g", 4, 2, 1)])
    assert not fits(GPUS, [Demand("g", 12, 2, 1), Demand("g", 5, 2, 1)])
    assert not fits(Room(2, 16, 8), [Demand("g", 1, 9, 0)] * 3)


def test_one_that_waits_is_not_delayed_by_those_behind_it() -> None:
    demands = {"large": whole(2), "small": whole(1), "quick": whole(1)}
    plan = scheduler(demands, {"large": 9, "small": 8, "quick": 3}, GPUS)
    busy = [Running("x", whole(1), ends=5.0)]
    assert plan.start(["large", "small", "quick"], busy, now=1.0) == ["quick"]


def test_the_profile_caps_the_nodes_at_once() -> None:
    plan = scheduler({"a": whole(1), "b": whole(1)}, {"a": 1, "b": 1}, GPUS, cap=1)
    assert plan.start(["a", "b"], []) == ["a"]


def test_of_a_group_with_unknown_limits_one_node_at_a_time_is_taken() -> None:
    plan = Scheduler({}, {"a": whole(1), "b": whole(1)}, {"a": 1, "b": 1}, {"a": 1, "b": 1})
    assert plan.start(["a", "b"], []) == ["a"]


def test_on_two_cores_stages_that_use_both_run_alone_and_those_of_one_core_do_not() -> None:
    rooms, profile = {MACHINE: Room(1, 2)}, Profile()
    nodes = [
        node("train.a"),
        node("prune.b", stage="prune"),
        node("merge.a", stage="merge"),
        node("merge.b", stage="merge"),
    ]
    demands = {one.name: demand_of(one, profile, rooms) for one in nodes}
    plan = Scheduler(rooms, demands, {}, {})
    for first, second, together in (
        ("train.a", "merge.a", False),
        ("prune.b", "merge.a", False),
        ("merge.a", "merge.b", True),
    ):
        assert (len(plan.start([first, second], [])) == 2) is together


def test_a_stage_that_takes_what_is_there_asks_for_no_more() -> None:
    rooms = {"cpu": Room(2, 4)}
    profile = Profile.model_validate({"corpus": {"workers": 64, "labels": {"group": "cpu"}}})
    assert demand_of(node("corpus", stage="corpus"), profile, rooms).workers == 8
    assert demand_of(node("report", stage="report"), profile, rooms).group == DRIVER


def test_the_endpoint_holds_a_worker_for_each_model() -> None:
    served = Node("serve", "serve", Strict(), {"model:a": "a", "model:b": "b", "corpus": "c"})
    assert demand_of(served, Profile(), {}).workers == 2


def test_a_group_that_can_never_hold_a_node_is_refused_with_the_arithmetic() -> None:
    profile = Profile.model_validate({"name": "small", "train": TRAIN | {"workers": 24}})
    with pytest.raises(RecipeError) as refused:
        Scheduler.of([node("train.a")], profile, {"train": GPUS}, {})
    assert "train.a needs 24 workers of 2 CPUs and 1 GPUs" in str(refused.value)
    assert "2 × 8 = 16 < 24" in str(refused.value)
    assert refused.value.exit_code == 2


def test_elastic_training_fits_where_its_fewest_workers_do() -> None:
    profile = Profile.model_validate({"train": TRAIN | {"workers": 24, "min_workers": 8}})
    plan = Scheduler.of([node("train.a")], profile, {"train": GPUS}, {})
    assert plan.demands["train.a"].workers == 16
    assert plan.start(["train.a"], []) == ["train.a"]
    assert simulate_run([node("train.a")], plan).most_at_once == 1


def test_a_training_without_workers_that_is_evaluated_meanwhile_keeps_a_machine_with_gpus_to_itself() -> None:
    profile = Profile.model_validate({"train": TRAIN | {"workers": 0}})
    evaluated = Node("train.b", "train", Evaluated(), {})
    assert demand_of(evaluated, profile, {"train": GPUS}) == Demand("train", 1, 16, 8)
    assert demand_of(node("train.a"), profile, {"train": GPUS}) == Demand("train", 1, 2, 1)
    assert (
        demand_of(node("train.a"), Profile.model_validate({"train": {"workers": 0}}), {MACHINE: Room(1, 2)}).cpus == 1
    )


def test_cycles_and_missing_parents_are_one_clear_error() -> None:
    with pytest.raises(ArtifactError, match=r"b: reads nobody as its role0, and no node of the graph makes it"):
        check_order([node("a"), node("b", "nobody")])
    with pytest.raises(ArtifactError, match=r"a → b → a|b → a → b"):
        check_order([node("a", "b"), node("b", "a")])


def test_toys_are_placed_as_the_stages_they_stand_for() -> None:
    stages = toy_stages(lambda *_: None)
    assert demand_of(node("train.a"), Profile(), {}, stages) == demand_of(node("train.a"), Profile(), {})
