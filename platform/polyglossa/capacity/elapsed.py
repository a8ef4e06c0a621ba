"""Simulate the run of a graph: when each node starts and ends under the executor's own scheduler, without Ray.

A group binds a node where the node was ready and its workers found no room. Groups can't make a run shorter than its
longest path, nor than the work of the busiest group over the machines that it has: `bound` is the larger of the two.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from polyglossa.pipeline.concurrent.schedule import Demand, Room, Running, Scheduler
from polyglossa.pipeline.graph import Node


@dataclass(frozen=True)
class NodeRun:
    """When a node ran (seconds since the start)."""

    name: str
    group: str
    ready: float
    started: float
    ended: float

    @property
    def waited(self) -> float:
        """Seconds between its inputs and its start."""
        return self.started - self.ready


@dataclass(frozen=True)
class Elapsed:
    """A simulated run."""

    runs: tuple[NodeRun, ...]
    longest_path_seconds: float
    busiest: str | None
    """The group whose work over its machines takes longest."""
    busiest_seconds: float
    most_at_once: int

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return max((run.ended for run in self.runs), default=0.0)

    @property
    def bound(self) -> float:
        """Seconds below which no order of these nodes comes."""
        return max(self.longest_path_seconds, self.busiest_seconds)

    @property
    def waited(self) -> dict[str, float]:
        """Seconds that nodes waited for room, by group; only groups that bind."""
        totals: dict[str, float] = {}
        for run in self.runs:
            if run.waited > 0:
                totals[run.group] = totals.get(run.group, 0.0) + run.waited
        return totals

    @property
    def binding(self) -> str | None:
        """The group whose limit makes the run longer than its longest path; None where the path is what takes long."""
        waited = self.waited
        return max(waited, key=lambda group: waited[group]) if self.seconds > self.longest_path_seconds + 1 else None


def simulate_run(nodes: Sequence[Node], scheduler: Scheduler) -> Elapsed:
    """Run a graph on paper.

    Args:
        nodes: of the graph.
        scheduler: rooms, demands and seconds of the nodes.
    """
    waiting = {node.name: set(node.inputs.values()) for node in nodes}
    ready: dict[str, float] = {}
    running: list[tuple[float, int, str]] = []
    runs: list[NodeRun] = []
    now, most = 0.0, 0
    while waiting or ready or running:
        for name in [name for name, inputs in waiting.items() if not inputs]:
            del waiting[name]
            ready[name] = now
        active = [Running(name, scheduler.demands[name], ends) for ends, _, name in running]
        for name in scheduler.start(ready, active, now):
            ends = now + scheduler.seconds.get(name, 0.0)
            heapq.heappush(running, (ends, len(runs), name))
            runs.append(NodeRun(name, scheduler.demands[name].group, ready.pop(name), now, ends))
        most = max(most, len(running))
        now = running[0][0]
        while running and running[0][0] <= now:
            _, _, name = heapq.heappop(running)
            for inputs in waiting.values():
                inputs.discard(name)
    busiest = busiest_group(scheduler)
    return Elapsed(
        tuple(runs),
        max(scheduler.remaining.values(), default=0.0),
        busiest[0] if busiest else None,
        busiest[1] if busiest else 0.0,
        most,
    )


def busiest_group(scheduler: Scheduler) -> tuple[str, float] | None:
    """The group whose machines have most to do, and the seconds that they take if none of them is ever idle."""
    work: dict[str, float] = {}
    for name, demand in scheduler.demands.items():
        room = scheduler.rooms.get(demand.group)
        if room is not None:
            held = _share(demand, room) * scheduler.seconds.get(name, 0.0)
            work[demand.group] = work.get(demand.group, 0.0) + held
    return max(work.items(), key=lambda item: item[1]) if work else None


def _share(demand: Demand, room: Room) -> float:
    """Share of a group that a node's workers hold: of what they are short of, processors or devices."""
    by_cpus = demand.workers * demand.cpus / (room.machines * room.cpus)
    by_gpus = demand.workers * demand.gpus / (room.machines * room.gpus) if demand.gpus else 0.0
    return max(by_cpus, by_gpus)
