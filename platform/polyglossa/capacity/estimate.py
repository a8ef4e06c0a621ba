"""The plan of a recipe on a profile: every node's work, time, memory, nodes and money, and what does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from polyglossa.capacity.devices import FLOAT32_CORE, NATIVE_CORE, Calibration, Device, device_of
from polyglossa.capacity.durations import SESSION_SECONDS, pass_tokens, seconds_of
from polyglossa.capacity.elapsed import Elapsed, simulate_run
from polyglossa.capacity.fit import Misfit, fits, least_needed, nearest, training_remedy
from polyglossa.capacity.host_memory import machine_gib
from polyglossa.capacity.memory import Footprint, StepLoad, embedding_footprint, training_footprint
from polyglossa.capacity.node_groups import Taken, nodes_of, rooms_of
from polyglossa.capacity.work import NodeWork, Workload, outside_model
from polyglossa.cluster.spec import Group
from polyglossa.errors import RecipeError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.graph import Graph, Node
from polyglossa.pipeline.schedule import MACHINE, Room, Scheduler
from polyglossa.pipeline.stages import find_stage
from polyglossa.recipe import Profile, Recipe, StagePlacement, TrainPlacement


@dataclass(frozen=True)
class NodePlan:
    """One node's share of the plan."""

    name: str
    stage: str
    work: NodeWork
    seconds: float
    taken: Taken
    device: str
    footprint: Footprint | None
    machine_gib: float
    """Memory of the machine, if one runs everything."""

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
    misfits: tuple[Misfit, ...]
    warnings: tuple[str, ...]
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
) -> CapacityPlan:
    """Plan a recipe on a profile.

    Raises:
        RecipeError: the recipe does not tell a shape or what a stage reads, or the profile names an unknown device.
    """
    graph = build(recipe)
    workload = Workload(recipe, graph)
    planner = _Planner(profile, calibration, groups)
    nodes = tuple(planner.plan(node, workload.of(node)) for node in graph.nodes.values())
    seconds = {node.name: node.seconds for node in nodes}
    return CapacityPlan(
        recipe=recipe.name,
        profile=profile.name,
        members=tuple(_size(workload, member.name) for member in recipe.members),
        nodes=nodes,
        longest_path=longest_path(graph, seconds),
        misfits=tuple(planner.misfits),
        warnings=tuple(dict.fromkeys(planner.warnings)),
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


def _size(workload: Workload, member: str) -> MemberSize:
    shape, parameters = workload.shape_of(member), workload.parameters_of(member)
    return MemberSize(member, parameters, parameters - shape.parameters(0), shape.hidden)


class _Planner:
    """Plans node after node, and collects what does not fit."""

    def __init__(self, profile: Profile, calibration: Calibration, groups: Mapping[str, Group]) -> None:
        self.profile, self.calibration, self.rooms = profile, calibration, rooms_of(groups, profile)
        self.misfits: list[Misfit] = []
        self.warnings: list[str] = []
        self._seen: set[str] = set()

    def plan(self, node: Node, work: NodeWork) -> NodePlan:
        stage = find_stage(node.stage)
        placement = stage.placement_in(self.profile)
        device = device_of(placement, self.calibration)
        taken = nodes_of(placement, self.rooms) if stage.placement else Taken("driver", 0)
        if taken.over:
            self.warnings.append(f"{node.stage}: {taken.over}.")
        if (outside := outside_model(node)) is not None:
            self.warnings.append(
                f"{node.name}: the time and memory that {outside} takes are not counted: no recipe tells the size of a "
                "model from outside."
            )
        work = _computed_on(device, work)
        footprint = self._footprint(node, work, placement)
        if footprint is not None and not fits(footprint, device.memory_gib):
            assert device.memory_gib is not None
            remedy, least = self._remedy(work, placement, device.memory_gib)
            self.misfits.append(Misfit(node.name, device.name, device.memory_gib, footprint, remedy, least))
        seconds = seconds_of(node.stage, work, placement, self.calibration, again=node.stage in self._seen)
        self._seen.add(node.stage)
        models = sum(role.startswith("model:") for role in node.inputs)
        memory = machine_gib(node.stage, placement, footprint, models)
        return NodePlan(node.name, node.stage, work, seconds, taken, device.name, footprint, memory)

    def _footprint(self, node: Node, work: NodeWork, placement: StagePlacement) -> Footprint | None:
        if work.shape is None:
            return None
        if node.stage == "train":
            assert isinstance(placement, TrainPlacement)
            return _training(work, placement)
        if find_stage(node.stage).cost.embeds:
            gpu = bool(placement.gpus)
            return embedding_footprint(work.shape, work.parameters, low_precision=work.low_precision, gpu=gpu)
        return None

    def _remedy(self, work: NodeWork, placement: StagePlacement, memory_gib: float) -> tuple[str, str]:
        if not isinstance(placement, TrainPlacement):
            return "Run the stage on devices that hold the weights (`device`, and a group that has them).", ""
        found = nearest(placement, lambda other: _training(work, other), memory_gib, pass_tokens(work, placement))
        return training_remedy(placement, found), least_needed(work.parameters, placement, memory_gib)


def _computed_on(device: Device, work: NodeWork) -> NodeWork:
    """What a node has to do in the precision that its device computes."""
    return work if device.bfloat16 else replace(work, low_precision=False)


def _training(work: NodeWork, placement: TrainPlacement) -> Footprint:
    assert work.shape is not None
    load = StepLoad(
        tokens=work.step_tokens / max(1, placement.workers),
        texts=work.step_texts,
        pass_tokens=pass_tokens(work, placement),
        teacher_width=work.teacher_width,
    )
    return training_footprint(work.shape, work.parameters, placement, load, low_precision=work.low_precision)
