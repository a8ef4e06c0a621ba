"""Decide which nodes of a graph start now. Pure: the executor acts on it, and `polyglossa plan` simulates it.

A node holds like workers on the machines of one group while it runs. Nodes start in the order of their longest
remaining path, each only when all of its workers find room (a gang): what is admitted together can never wait for
each other. A node that finds no room keeps a place: those behind it start only where they do not delay it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from polyglossa.errors import ArtifactError, RecipeError
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.stages import STAGES, Stage, find_stage
from polyglossa.recipe import Profile, StagePlacement, TrainPlacement
from polyglossa.recipe.placement import GROUP_LABEL

MACHINE = "machine"
"""The group of stages that name none: one machine that runs everything."""
DRIVER = "driver"
"""The group of stages without workers: beside the run's own process."""


@dataclass(frozen=True)
class Room:
    """What one group may grow to: so many machines of one size."""

    machines: int
    cpus: float
    """Of one machine."""
    gpus: float = 0.0
    """Of one machine."""


@dataclass(frozen=True)
class Demand:
    """What a node of the graph holds while it runs."""

    group: str
    workers: int
    cpus: float
    """Of one worker."""
    gpus: float = 0.0
    """Of one worker."""


@dataclass(frozen=True)
class Running:
    """A node that runs: what it holds, and when it is thought to end (seconds on the scheduler's clock)."""

    name: str
    demand: Demand
    ends: float


def check_order(nodes: Sequence[Node]) -> None:
    """Refuse nodes that read what nobody makes, or that wait for each other.

    Raises:
        ArtifactError: a parent is missing, or nodes form a cycle.
    """
    known = {node.name for node in nodes}
    for node in nodes:
        for role, name in node.inputs.items():
            if name not in known:
                raise ArtifactError(f"{node.name}: reads {name} as its {role}, and no node of the graph makes it.")
    try:
        TopologicalSorter({node.name: list(node.inputs.values()) for node in nodes}).prepare()
    except CycleError as error:
        path = " → ".join(reversed(error.args[1]))
        raise ArtifactError(f"{path}: these nodes wait for each other; a graph has no cycle.") from None


def remaining_seconds(nodes: Sequence[Node], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of the longest path from the start of each node to the end of the graph."""
    order = TopologicalSorter({node.name: list(node.inputs.values()) for node in nodes}).static_order()
    readers: dict[str, list[str]] = {}
    for node in nodes:
        for name in set(node.inputs.values()):
            readers.setdefault(name, []).append(node.name)
    longest: dict[str, float] = {}
    for name in reversed(list(order)):
        longest[name] = seconds.get(name, 0.0) + max((longest[one] for one in readers.get(name, ())), default=0.0)
    return longest


def demand_of(node: Node, profile: Profile, rooms: Mapping[str, Room], stages: Mapping[str, Stage] = STAGES) -> Demand:
    """What a node holds, by its stage's placement; one that runs with fewer workers holds no more than the group has.

    On processors a worker holds its threads, where the group has so many.
    """
    stage = find_stage(node.stage, stages)
    if stage.placement is None:
        return Demand(DRIVER, 1, 0.0)
    placement = stage.placement_in(profile)
    asked = _asked(node, stage, placement)
    room = rooms.get(asked.group)
    if room is None:
        return asked
    if placement.workers == 0 and placement.gpus and not is_worker(node, placement):
        return Demand(asked.group, 1, room.cpus, room.gpus)  # Ray gives it no device: it may use any
    least = _least(stage, placement, asked.workers)
    asked = Demand(asked.group, min(asked.workers, max(least, _most(asked, room))), asked.cpus, asked.gpus)
    busy = Demand(asked.group, asked.workers, max(asked.cpus, float(placement.threads)), asked.gpus)
    return busy if not busy.gpus and fits(room, [busy]) else asked


def is_worker(node: Node, placement: StagePlacement) -> bool:
    """Whether a node's driver takes what a worker does: it trains itself, without a worker group.

    One that is evaluated meanwhile takes nothing of Ray's, or it would hold what its own evaluations wait for.
    """
    return placement.workers == 0 and getattr(node.config, "evaluation", None) is None


def refuse_misfits(
    nodes: Iterable[Node], profile: Profile, rooms: Mapping[str, Room], stages: Mapping[str, Stage] = STAGES
) -> None:
    """Refuse a profile whose groups can never hold a node of the graph.

    Raises:
        RecipeError: with the arithmetic, a clause for every stage that does not fit.
    """
    misfits: dict[str, str] = {}
    for node in nodes:
        stage = find_stage(node.stage, stages)
        if stage.placement is None or stage.name in misfits:
            continue
        placement = stage.placement_in(profile)
        demand = _asked(node, stage, placement)
        room = rooms.get(demand.group)
        least = _least(stage, placement, demand.workers)
        if room is not None and _most(demand, room) < least:
            misfits[stage.name] = _arithmetic(node.name, stage, demand, room, least)
    if misfits:
        raise RecipeError(f"profile {profile.name}: " + "; ".join(misfits.values()))


def _asked(node: Node, stage: Stage, placement: StagePlacement) -> Demand:
    models = sum(role.startswith("model:") for role in node.inputs) if stage.worker_per_model else 0
    workers = models or max(1, placement.workers)
    return Demand(placement.labels.get(GROUP_LABEL, MACHINE), workers, placement.cpus, placement.gpus)


def _least(stage: Stage, placement: StagePlacement, workers: int) -> int:
    """Workers without which a stage never runs."""
    if stage.takes_what_is_there:
        return 1
    elastic = placement.min_workers if isinstance(placement, TrainPlacement) else None
    return elastic or workers


def _arithmetic(name: str, stage: Stage, demand: Demand, room: Room, least: int) -> str:
    each = f"{demand.cpus:g} CPUs" + (f" and {demand.gpus:g} GPUs" if demand.gpus else "")
    machine = f"{room.cpus:g} CPUs" + (f" and {room.gpus:g} GPUs" if room.gpus or demand.gpus else "")
    per = per_machine(demand, room)
    held = f"holds {per} of them" if per else "holds none of them"
    return (
        f"{name} needs {least} workers of {each}, and a machine of group {demand.group!r} ({machine}) {held}: "
        f"{room.machines} × {per} = {room.machines * per} < {least}. "
        f"Lower {stage.placement}.workers or what each takes, or give the group more"
    )


def per_machine(demand: Demand, room: Room) -> int:
    """Workers that one empty machine of a group holds."""
    return _held(demand, room.cpus, room.gpus)


def machines_of(demand: Demand, room: Room) -> int:
    """Machines that a node's workers take in an empty group."""
    return math.ceil(demand.workers / max(1, per_machine(demand, room)))


def _most(demand: Demand, room: Room) -> int:
    return room.machines * per_machine(demand, room)


def _held(demand: Demand, cpus: float, gpus: float) -> int:
    by_cpus = math.floor(cpus / demand.cpus + 1e-9) if demand.cpus else demand.workers
    by_gpus = math.floor(gpus / demand.gpus + 1e-9) if demand.gpus else demand.workers
    return max(0, min(by_cpus, by_gpus, demand.workers))


def fits(room: Room | None, demands: Sequence[Demand]) -> bool:
    """Whether all workers of some nodes find room in one group at the same time.

    Workers are packed first fit, the largest first. Of a group whose limits are not known one node at a time is taken.
    """
    if room is None:
        return len(demands) <= 1
    free = [(room.cpus, room.gpus)] * room.machines
    for demand in sorted(demands, key=lambda one: (one.gpus, one.cpus), reverse=True):
        left = demand.workers
        for place, (cpus, gpus) in enumerate(free):
            taken = min(left, _held(demand, cpus, gpus))
            free[place] = (cpus - taken * demand.cpus, gpus - taken * demand.gpus)
            left -= taken
            if not left:
                break
        if left:
            return False
    return True


@dataclass(frozen=True)
class Scheduler:
    """The policy: the same for a run and for its simulation."""

    rooms: Mapping[str, Room]
    demands: Mapping[str, Demand]
    seconds: Mapping[str, float]
    """How long each node is thought to run."""
    remaining: Mapping[str, float]
    """Longest path from each node's start to the end of the graph."""
    concurrent_nodes: int | None = None
    """Nodes at the same time, at most."""

    @classmethod
    def of(
        cls,
        nodes: Sequence[Node],
        profile: Profile,
        rooms: Mapping[str, Room],
        seconds: Mapping[str, float],
        stages: Mapping[str, Stage] = STAGES,
    ) -> "Scheduler":
        """Prepare a graph.

        Raises:
            ArtifactError: a parent is missing, or nodes form a cycle.
            RecipeError: a group can never hold a node.
        """
        check_order(nodes)
        refuse_misfits(nodes, profile, rooms, stages)
        return cls(
            rooms,
            {node.name: demand_of(node, profile, rooms, stages) for node in nodes},
            seconds,
            remaining_seconds(nodes, seconds),
            profile.concurrent_nodes,
        )

    def in_order(self, ready: Iterable[str]) -> list[str]:
        """Sort nodes: the longest remaining path first; of equal ones, the order they came in."""
        return sorted(ready, key=lambda name: -self.remaining.get(name, 0.0))

    def start(self, ready: Iterable[str], running: Sequence[Running], now: float = 0.0) -> list[str]:
        """Choose the nodes that start now.

        Args:
            ready: nodes whose inputs are there.
            running: nodes that run.
            now: the clock that `Running.ends` is read on.
        """
        active, chosen = list(running), []
        kept: dict[str, Demand] = {}
        for name in self.in_order(ready):
            if self.concurrent_nodes is not None and len(active) >= self.concurrent_nodes:
                break
            demand = self.demands[name]
            one = Running(name, demand, now + self.seconds.get(name, 0.0))
            head = kept.get(demand.group)
            if not self._has_room(demand, active):
                kept.setdefault(demand.group, demand)
            elif head is None or not self._delays(one, head, active):
                active.append(one)
                chosen.append(name)
        return chosen

    def _has_room(self, demand: Demand, active: Iterable[Running]) -> bool:
        if demand.group == DRIVER:
            return True
        held = [one.demand for one in active if one.demand.group == demand.group]
        return not held or fits(self.rooms.get(demand.group), [*held, demand])

    def _delays(self, one: Running, head: Demand, active: Sequence[Running]) -> bool:
        """Whether starting a node moves the moment at which the one that waits before it finds room."""
        there = [other for other in active if other.demand.group == head.group]
        return self._free_at(head, [*there, one]) > self._free_at(head, there)

    def _free_at(self, demand: Demand, active: Sequence[Running]) -> float:
        left = sorted(active, key=lambda one: one.ends)
        time = 0.0
        while left and not self._has_room(demand, left):
            time = left.pop(0).ends
        return time
