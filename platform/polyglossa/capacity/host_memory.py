"""Memory of hosts: of one machine that runs everything, and of a node of a group while a stage runs on it.

Shares of one machine are of PSS (a shared page counts once), measured per stage with the quickstart on two workers of a
CPU machine. On a group, a node holds the system and Ray, the process that runs the stage, the stage's tasks that lie on
it, and what they have in the object store; the head holds the cluster's own processes and the process of a run.
"""

from dataclasses import dataclass

from polyglossa.capacity.node_groups import Taken
from polyglossa.cluster.spec import Group
from polyglossa.cluster.spec.nodes import Node
from polyglossa.costing.memory import GIB, Footprint
from polyglossa.costing.work import StageCost, Work
from polyglossa.recipe import StagePlacement

_BASE_GIB = 1.6
"""The driver, Ray's own processes, idle workers."""
_SYSTEM_GIB = 1.0
"""Of a node: the system, raylet and agents."""
_HEAD_GIB = 2.5
"""Of the head: the control plane, dashboard, job server."""
_RUN_GIB = 0.6
"""The process that holds a run's graph."""
_USABLE = 0.95  # Ray ends workers above this share of a node's memory


def machine_gib(cost: StageCost, placement: StagePlacement, footprint: Footprint | None, models: int = 1) -> float:
    """Memory of the machine while a stage runs (GiB).

    Args:
        cost: the stage's.
        placement: its workers.
        footprint: what each worker holds besides its process.
        models: models that are up at once (serving).
    """
    each = cost.worker_gib + (footprint.total / GIB if footprint is not None else 0.0)
    return _BASE_GIB + cost.processes(placement, models) * each


@dataclass(frozen=True)
class HostNeed:
    """Memory of a node of a stage's group (GiB)."""

    process: float
    """The process that runs the stage; one node of the group has it."""
    task: float
    """One task or worker, the model that passes through the host's memory included."""
    tasks: int
    """Tasks of the stage on one node."""
    object_store: float
    """What the stage has in the object store of one node."""

    @property
    def total(self) -> float:
        """Of all."""
        return _SYSTEM_GIB + self.process + self.tasks * self.task + self.object_store

    def arithmetic(self) -> str:
        """The sum, item by item."""
        return (
            f"system {_SYSTEM_GIB:.1f} + the stage's process {self.process:.1f} + {self.tasks} × task {self.task:.1f} "
            f"+ object store {self.object_store:.1f} = {self.total:.1f} GiB"
        )


@dataclass(frozen=True)
class HostMisfit:
    """A node of the graph whose hosts are too small."""

    node: str
    group: str
    memory_gib: float
    arithmetic: str
    remedy: str

    def __str__(self) -> str:
        """One paragraph with the arithmetic."""
        return (
            f"{self.node}: a node of {self.group!r} needs {self.arithmetic} of memory, and has {self.memory_gib:g} "
            f"GiB. {self.remedy}"
        )


def host_need(
    cost: StageCost,
    work: Work,
    placement: StagePlacement,
    taken: Taken,
    group: Group,
    footprint: Footprint | None,
) -> HostNeed:
    """Count the memory of one node of a group.

    Args:
        cost: the stage's.
        work: what it has to do.
        placement: its workers.
        taken: nodes that they take.
        group: the group.
        footprint: what each worker holds besides its process: on its device, or here where it computes on processors.
    """
    model = 4 * work.parameters / GIB if cost.runs_model else 0.0
    if footprint is not None and not placement.gpus:
        model = max(model, footprint.total / GIB)
    by_cpu = int(group.cpus // max(placement.cpus, 0.01))
    room = min(by_cpu, int(group.gpus // placement.gpus)) if placement.gpus else by_cpu
    workers = max(1, placement.workers)
    tasks = max(1, min(room, workers) if cost.fills_nodes else min(room, -(-workers // max(1, taken.nodes))))
    return HostNeed(cost.process_gib(work), (cost.task_gib or cost.worker_gib) + model, tasks, cost.object_store_gib)


def misfit_of(node: str, need: HostNeed, group: str, memory_gib: float) -> HostMisfit | None:
    """Say what does not fit a node of a group; None where it does."""
    if need.total <= _USABLE * memory_gib:
        return None
    rest = _USABLE * memory_gib - need.total + need.tasks * need.task
    fit = int(rest // need.task) if need.task else 0
    remedy = (
        f"Nearest that fits: {fit} on a node (fewer `workers`, or more `cpus` for each)."
        if fit >= 1
        else f"Run it on a group with {need.total / _USABLE:.0f} GiB or more."
    )
    return HostMisfit(node, group, memory_gib, need.arithmetic(), remedy)


def head_misfit(head: Node) -> HostMisfit | None:
    """Say what of a run does not fit the head; None where it does."""
    needed = _HEAD_GIB + _RUN_GIB
    if needed <= _USABLE * head.memory_gib:
        return None
    arithmetic = f"the cluster's own processes {_HEAD_GIB:.1f} + a run {_RUN_GIB:.1f} = {needed:.1f} GiB"
    return HostMisfit("head", "head", head.memory_gib, arithmetic, "Take a larger machine for it.")
