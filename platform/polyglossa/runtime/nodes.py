"""What a stage's workers compute on, asked of the cluster's nodes before they start: one precision for all of them."""

from collections.abc import Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from polyglossa.recipe.placement import StagePlacement
from polyglossa.runtime.console import say_once
from polyglossa.runtime.precision import DeviceFacts, Precision, device_facts

_facts_of: dict[tuple[str, str], DeviceFacts] = {}
"""By node and device; a node's id is never another's, and its processor stays the same."""


def stage_precision(requested: str | None, placement: StagePlacement) -> Precision:
    """Decide what all workers of a stage compute in, before any of them starts, and tell the person."""
    precision = Precision.decide(requested, device_facts_of(placement))
    if precision.notable:
        say_once(str(precision))
    return precision


def device_facts_of(placement: StagePlacement) -> list[DeviceFacts]:
    """Find out what a stage's workers compute on, on every node that may hold one; where none is up, one is started."""
    device = placement.torch_device
    if not ray.is_initialized():
        return [device_facts(device)]
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and _holds(node, placement)]
    if not nodes:
        own = {"num_cpus": placement.cpus, "num_gpus": placement.gpus, "label_selector": placement.labels or None}
        return [ray.get(ray.remote(_ask).options(**own).remote(device))]
    asked = {node: _facts_of[node, device] for node in nodes if (node, device) in _facts_of}
    waiting = {node: _ask_node(node, device) for node in nodes if node not in asked}
    asked |= dict(zip(waiting, ray.get(list(waiting.values())), strict=True))
    _facts_of.update({(node, device): facts for node, facts in asked.items()})
    return [asked[node] for node in nodes]


def _ask_node(node: str, device: str) -> Any:
    """Ask a node, in a task also where the driver is alone with it: torch is loaded there and not here.

    The task takes nothing: with no GPU reserved, Ray leaves all of a node's in sight.
    """
    place = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(_ask).options(num_cpus=0, num_gpus=0, scheduling_strategy=place).remote(device)


def _ask(device: str) -> DeviceFacts:
    """Tell of this node; a function of its own, for Ray takes no cached one."""
    return device_facts(device)


def _holds(node: Mapping[str, Any], placement: StagePlacement) -> bool:
    """Whether a node has the labels and the kind of device that a stage's workers ask for."""
    labels = node.get("Labels") or {}
    fits = all(labels.get(key) == value for key, value in placement.labels.items())
    return fits and node["Resources"].get("GPU", 0.0) >= placement.gpus and "CPU" in node["Resources"]
