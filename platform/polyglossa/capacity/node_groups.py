"""Count the nodes that a stage's workers take, and their price by the hour."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from polyglossa.cluster.spec import GROUP_LABEL, Group, load_spec
from polyglossa.cluster.spec.nodes import Node
from polyglossa.errors import RecipeError
from polyglossa.recipe import StagePlacement
from polyglossa.recipe.load import read_mapping

MACHINE = "machine"
"""The group of stages that name none: one machine that runs everything."""


@dataclass(frozen=True)
class Taken:
    """Nodes that a stage holds while it runs."""

    group: str
    nodes: int
    """Nodes of the group."""
    over: str = ""
    """What the group cannot give, in words."""


def nodes_of(placement: StagePlacement, groups: Mapping[str, Group]) -> Taken:
    """Count the nodes that a stage's workers need."""
    name = placement.labels.get(GROUP_LABEL)
    if name is None:
        return Taken(MACHINE, 1)
    if name not in groups:
        return Taken(name, 1, f"group {name!r} is not in the cluster's spec")
    group, workers = groups[name], max(1, placement.workers)
    by_gpu = math.ceil(workers / (group.gpus // placement.gpus)) if 0 < placement.gpus <= group.gpus else 1
    by_cpu = math.ceil(workers / max(1, group.cpus // max(placement.cpus, 0.01)))
    nodes = max(by_gpu, by_cpu)
    if placement.gpus > group.gpus:
        return Taken(name, nodes, f"a worker asks for {placement.gpus:g} GPUs, and a node of {name!r} has {group.gpus}")
    if nodes > group.max:
        return Taken(name, nodes, f"{workers} workers need {nodes} nodes of {name!r}, which has at most {group.max}")
    return Taken(name, nodes)


def read_groups(spec: Path | None) -> dict[str, Group]:
    """Groups of a cluster's spec; none where there is no such file."""
    return dict(load_spec(spec).groups) if spec is not None and spec.is_file() else {}


def read_head(spec: Path | None) -> Node | None:
    """Head of a cluster's spec; None where there is no such file."""
    return load_spec(spec).head if spec is not None and spec.is_file() else None


def read_prices(given: str | None) -> dict[str, float]:
    """Prices of a node-hour by group: `train=98.3,embed=0.98`, or a YAML file that maps groups to prices.

    Raises:
        RecipeError: neither of both.
    """
    if given is None:
        return {}
    if "=" in given:
        pairs = [pair.partition("=") for pair in given.split(",")]
        found: Mapping[str, object] = {name.strip(): value for name, _, value in pairs}
    else:
        found = read_mapping(given)
    try:
        return {name: float(str(value)) for name, value in found.items()}
    except ValueError:
        raise RecipeError(f"--prices {given}: write group=price,group=price with prices of a node-hour.") from None
