"""The plan of a recipe on a profile: every node's work, time, memory, nodes and money, and what does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from polyglossa.capacity.elapsed import Elapsed, simulate_run
from polyglossa.capacity.fit import Misfit, fits, least_needed, nearest, training_remedy
from polyglossa.capacity.host_memory import HostMisfit, HostNeed, head_misfit, host_need, machine_gib, misfit_of
from polyglossa.capacity.node_groups import Taken, nodes_of, rooms_of
from polyglossa.cluster.spec import Group
from polyglossa.cluster.spec.nodes import Node as Machine
from polyglossa.costing.devices import FLOAT32_CORE, NATIVE_CORE, Calibration, Device, device_of
from polyglossa.costing.family import Family
from polyglossa.costing.memory import Footprint
from polyglossa.costing.work import StageCost, Work
from polyglossa.errors import RecipeError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.concurrent.schedule import MACHINE, Room, Scheduler
from polyglossa.pipeline.graph import Graph, Node
from polyglossa.pipeline.stages import find_stage_of
from polyglossa.recipe import Profile, Recipe, StagePlacement, TrainPlacement
from polyglossa.train.cost import pass_tokens

SESSION_SECONDS = 9.0
"""Starting and stopping Ray, once a run."""


@dataclass(frozen=True)
class NodePlan:
    """One node's share of the plan."""

    name: str
    stage: str
    work: Work
    seconds: float
    taken: Taken
    device: str
    footprint: Footprint | None
    machine_gib: float
    """Memory of the machine, if one runs everything."""
    host: HostNeed | None
    """Memory of a node of its group; None where it names none that the spec has."""

    @property
    def node_hours(self) -> float:
        """Hours of nodes that it holds."""
        return self.taken.nodes * self.seconds / 3600


@dataclass(frozen=True)
class MemberSize:
    """One member's exact size."""

    name: str
    parameters: int
    table: int
    """Parameters of the embedding table."""
    width: int


@dataclass(frozen=True)
class CapacityPlan:
    """What a recipe costs on a profile."""

    recipe: str
    profile: str
    members: tuple[MemberSize, ...]
    nodes: tuple[NodePlan, ...]
    longest_path: tuple[str, ...]
    """Nodes that follow from each other and take longest together: no number of nodes makes a run shorter."""
    misfits: tuple[Misfit | HostMisfit, ...]
    warnings: tuple[str, ...]
    assumed: tuple[str, ...]
    """Devices whose speeds are shares of data sheets, not measured."""
    prices: Mapping[str, float]
    elapsed: Elapsed | None = None
    """The run as the executor makes it; None where a group can never hold a node."""

    @property
    def hours(self) -> float:
        """Of the whole run, if one node ran after another."""
        return (SESSION_SECONDS + sum(node.seconds for node in self.nodes)) / 3600

    @property
    def elapsed_hours(self) -> float | None:
        """Of the whole run, with as many nodes at the same time as find room."""
        return None if self.elapsed is None else (SESSION_SECONDS + self.elapsed.seconds) / 3600

    @property
    def longest_hours(self) -> float:
        """Of the longest path."""
        return sum(node.seconds for node in self.nodes if node.name in self.longest_path) / 3600

    @property
    def stored_bytes(self) -> float:
        """Of all artifacts."""
        return sum(node.work.stored_bytes for node in self.nodes)

    @property
    def machine_gib(self) -> float | None:
        """Peak memory, where one machine runs everything on its CPUs (GiB)."""
        alone = [
            node for node in self.nodes if node.taken.group == MACHINE and node.device in (NATIVE_CORE, FLOAT32_CORE)
        ]
        busy = [node for node in self.nodes if node.taken.nodes]
        return max(node.machine_gib for node in alone) if alone and len(alone) == len(busy) else None

    @property
    def node_hours(self) -> dict[str, float]:
        """By group."""
        totals: dict[str, float] = {}
        for node in self.nodes:
            if not node.taken.nodes:
                continue
            totals[node.taken.group] = totals.get(node.taken.group, 0.0) + node.node_hours
        return totals

    @property
    def cost(self) -> float | None:
        """At the given prices; None where a group has none."""
        hours = self.node_hours
        if not self.prices or any(group not in self.prices for group, value in hours.items() if value):
            return None
        return sum(self.prices.get(group, 0.0) * value for group, value in hours.items())


def estimate(
    recipe: Recipe,
    profile: Profile,
    calibration: Calibration,
    groups: Mapping[str, Group],
    prices: Mapping[str, float] | None = None,
    head: Machine | None = None,
) -> CapacityPlan:
    """Plan a recipe on a profile.

    Args:
        recipe: what is made.
        profile: where each stage runs.
        calibration: speeds of devices.
        groups: of the cluster.
        prices: of a node-hour, by group.
        head: the cluster's head; None counts none.

    Raises:
        RecipeError: the recipe does not tell a shape or what a stage reads, or the profile names an unknown device.
    """
    graph = build(recipe)
    family = Family(recipe, graph.nodes)
    planner = _Planner(profile, calibration, groups, family)
    nodes = tuple(map(planner.plan, graph.nodes.values()))
    seconds = {node.name: node.seconds for node in nodes}
    if head is not None and (misfit := head_misfit(head)) is not None:
        planner.misfits.append(misfit)
    return CapacityPlan(
        recipe=recipe.name,
        profile=profile.name,
        members=tuple(_size(family, member.name) for member in recipe.members),
        nodes=nodes,
        longest_path=longest_path(graph, seconds),
        misfits=tuple(planner.misfits),
        warnings=tuple(dict.fromkeys(planner.warnings)),
        assumed=tuple(sorted(planner.assumed)),
        prices=prices or {},
        elapsed=elapsed_of(graph, profile, planner.rooms, seconds),
    )


def elapsed_of(
    graph: Graph, profile: Profile, rooms: Mapping[str, Room], seconds: Mapping[str, float]
) -> Elapsed | None:
    """Simulate the run of a graph; None where a group can never hold a node."""
    nodes = list(graph.nodes.values())
    try:
        scheduler = Scheduler.of(nodes, profile, rooms, seconds)
    except RecipeError:
        return None
    return simulate_run(nodes, scheduler)


def longest_path(graph: Graph, seconds: Mapping[str, float]) -> tuple[str, ...]:
    """Find the path through the graph that takes longest."""
    best: dict[str, tuple[float, tuple[str, ...]]] = {}
    for node in graph.nodes.values():
        before = max((best[name] for name in node.inputs.values()), key=lambda path: path[0], default=(0.0, ()))
        best[node.name] = (before[0] + seconds[node.name], (*before[1], node.name))
    return max(best.values(), key=lambda path: path[0])[1]


def _size(family: Family, member: str) -> MemberSize:
    shape, parameters = family.shape_of(member), family.parameters_of(member)
    return MemberSize(member, parameters, family.table_of(member), shape.hidden)


class _Planner:
    """Plans node after node, and collects what does not fit."""

    def __init__(self, profile: Profile, calibration: Calibration, groups: Mapping[str, Group], family: Family) -> None:
        self.profile, self.calibration, self.groups, self.family = profile, calibration, groups, family
        self.rooms = rooms_of(groups, profile)
        self.misfits: list[Misfit | HostMisfit] = []
        self.warnings: list[str] = []
        self.assumed: set[str] = set()
        self._seen: set[str] = set()

    def plan(self, node: Node) -> NodePlan:
        stage = find_stage_of(node)
        cost = stage.cost
        placement = stage.placement_in(self.profile)
        device = device_of(placement, self.calibration)
        taken = nodes_of(placement, self.rooms) if stage.placement else Taken("driver", 0)
        if taken.over:
            self.warnings.append(f"{node.stage}: {taken.over}.")
        if (outside := cost.uncounted(node)) is not None:
            self.warnings.append(
                f"{node.name}: the time and memory that {outside} takes are not counted: no recipe tells the size of a "
                "model from outside."
            )
        work = _computed_on(device, cost.work(node, self.family))
        footprint = cost.footprint(work, placement)
        if footprint is not None and not fits(footprint, device.memory_gib):
            assert device.memory_gib is not None
            remedy, least = _remedy(cost, work, placement, device.memory_gib)
            self.misfits.append(Misfit(node.name, device.name, device.memory_gib, footprint, remedy, least))
        if device.assumed and work.flops:
            self.assumed.add(device.name)
        start = cost.start(placement, scale=self.calibration.start_scale, again=node.stage in self._seen)
        seconds = start + cost.seconds(work, placement, device)
        self._seen.add(node.stage)
        models = sum(role.startswith("model:") for role in node.inputs)
        memory = machine_gib(cost, placement, footprint, models)
        host = self._host(node.name, cost, work, placement, taken, footprint)
        return NodePlan(node.name, node.stage, work, seconds, taken, device.name, footprint, memory, host)

    def _host(
        self,
        name: str,
        cost: StageCost,
        work: Work,
        placement: StagePlacement,
        taken: Taken,
        footprint: Footprint | None,
    ) -> HostNeed | None:
        """Count the memory of a node of the stage's group, and note where it is too little."""
        group = self.groups.get(taken.group)
        if group is None or not taken.nodes:
            return None
        need = host_need(cost, work, placement, taken, group, footprint)
        if (misfit := misfit_of(name, need, taken.group, group.memory_gib)) is not None:
            self.misfits.append(misfit)
        return need


def _remedy(cost: StageCost, work: Work, placement: StagePlacement, memory_gib: float) -> tuple[str, str]:
    """Say what would fit, and the least that any training of the model needs."""
    if not isinstance(placement, TrainPlacement):
        return "Run the stage on devices that hold the weights (`device`, and a group that has them).", ""

    def measure(other: TrainPlacement) -> Footprint:
        found = cost.footprint(work, other)
        assert found is not None
        return found

    found = nearest(placement, measure, memory_gib, pass_tokens(work, placement))
    return training_remedy(placement, found), least_needed(work.parameters, work.trained, placement, memory_gib)


def _computed_on(device: Device, work: Work) -> Work:
    """What a node has to do in the precision that its device computes."""
    if not device.bfloat16:
        return replace(work, low_precision=False)
    gpu = device.memory_gib is not None
    return replace(work, low_precision=gpu) if work.low_precision is None else work
