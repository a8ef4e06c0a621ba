"""Where drivers of nodes run, and the room that a Ray has which was started here."""

import os
from collections.abc import Mapping
from typing import Any

import ray

from polyglossa.pipeline.concurrent.schedule import MACHINE, Room, is_worker
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.stages import Stage
from polyglossa.recipe import Profile
from polyglossa.runtime.run_board import beside_this_process


def driver_options(node: Node, stage: Stage, profile: Profile) -> dict[str, Any]:
    """Options of a driver's task: on its stage's group, beside this process where the stage names none."""
    placement = stage.placement_in(profile)
    if is_worker(node, placement):
        return placement.ray_options
    if stage.placement is None or stage.beside_run or not placement.labels:
        return {"num_cpus": 0, "scheduling_strategy": beside_this_process()}
    return {"num_cpus": 0, "label_selector": dict(placement.labels), "scheduling_strategy": "SPREAD"}


def wake_machine(options: Mapping[str, Any], stage: Stage, profile: Profile) -> Any:
    """Ask for what a worker takes, so that a machine of the group is up before the driver starts there.

    A driver takes no CPU, of which small machines have none to spare, and for nothing the autoscaler adds nothing.

    Returns:
        What the driver's task waits for; None where it needs no machine of a group.
    """
    if options["num_cpus"] or "label_selector" not in options:
        return None
    task: Any = ray.remote(_wake)
    return task.options(**stage.placement_in(profile).ray_options).remote()


def _wake() -> None:
    """Be a task that asks for what a worker takes."""


def rooms_of_this_ray(profile: Profile, rooms: Mapping[str, Room]) -> dict[str, Room]:
    """Add this machine to the groups, where Ray was started here; what a cluster that was joined grows to is not known.

    Args:
        profile: its limits take the place of others.
        rooms: of the cluster's groups, as its spec says.
    """
    known = dict(rooms)
    known |= {name: Room(limit.machines, limit.cpus, limit.gpus) for name, limit in profile.groups.items()}
    if MACHINE not in known and not os.environ.get("RAY_ADDRESS"):
        there = ray.cluster_resources()
        known[MACHINE] = Room(1, there.get("CPU", 0.0), there.get("GPU", 0.0))
    return known
