"""Count the nodes that a stage's workers take, the limits of groups, and their price by the hour."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polyglossa.cluster.spec import Group, load_spec
from polyglossa.cluster.spec.nodes import Node
from polyglossa.errors import RecipeError
from polyglossa.pipeline.concurrent.schedule import MACHINE, Demand, Room, machines_of, per_machine
from polyglossa.recipe import Profile, StagePlacement
from polyglossa.recipe.load import read_mapping
from polyglossa.recipe.placement import GROUP_LABEL


@dataclass(frozen=True)
class Taken:
    """Nodes that a stage holds while it runs."""

    group: str
    nodes: int
    """Nodes of the group."""
    over: str = ""
    """What the group cannot give, in words."""


def nodes_of(placement: StagePlacement, rooms: Mapping[str, Room]) -> Taken:
    """Count the nodes that a stage's workers need."""
    name = placement.labels.get(GROUP_LABEL)
    if name is None:
        return Taken(MACHINE, 1)
    if name not in rooms:
        return Taken(name, 1, f"group {name!r} is not in the cluster's spec")
    room = rooms[name]
    demand = Demand(name, max(1, placement.workers), placement.cpus, placement.gpus)
    if not per_machine(demand, room):
        return Taken(name, 1, f"a worker asks for {_size(demand)}, and a node of {name!r} has {_size(room)}")
    nodes = machines_of(demand, room)
    if nodes > room.machines:
        over = f"{demand.workers} workers need {nodes} nodes of {name!r}, which has at most {room.machines}"
        return Taken(name, nodes, over)
    return Taken(name, nodes)


def _size(has: Demand | Room) -> str:
    return f"{has.cpus:g} CPUs and {has.gpus:g} GPUs"


def rooms_of(groups: Mapping[str, Group], profile: Profile) -> dict[str, Room]:
    """What groups may grow to: as the cluster's spec says, or the profile where it says otherwise."""
    given = {name: Room(group.max, group.cpus, group.gpus) for name, group in groups.items()}
    return given | {name: Room(limit.machines, limit.cpus, limit.gpus) for name, limit in profile.groups.items()}


def read_groups(spec: Path | None) -> dict[str, Group]:
    """Groups of a cluster's spec; none where there is no such file."""
    return dict(load_spec(spec).groups) if spec is not None and spec.is_file() else {}


def read_head(spec: Path | None) -> Node | None:
    """Head of a cluster's spec; None where there is no such file."""
    return load_spec(spec).head if spec is not None and spec.is_file() else None


def read_prices(given: str | None) -> dict[str, float]:
    """Prices of a node-hour by group: `train=98.3,embed=0.98`, or a YAML file that maps groups to prices.

    Raises:
        RecipeError: neither of both, or a price is below 0 or no number.
    """
    if given is None:
        return {}
    if "=" in given:
        pairs = [pair.partition("=") for pair in given.split(",")]
        found: Mapping[str, object] = {name.strip(): value for name, _, value in pairs}
    else:
        found = read_mapping(given)
    try:
        prices = {name: float(str(value)) for name, value in found.items()}
    except ValueError:
        raise RecipeError(f"--prices {given}: write group=price,group=price with prices of a node-hour.") from None
    odd = next((name for name, price in prices.items() if not 0 <= price < math.inf), None)
    if odd is not None:
        raise RecipeError(f"--prices {given}: {odd} costs {prices[odd]} a node-hour; give a price of 0 or more.")
    return prices
