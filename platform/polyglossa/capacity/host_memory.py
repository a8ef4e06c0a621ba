"""Memory of one machine that runs everything: processes, models and what a step keeps, as the operating system counts.

Shares are of PSS (a shared page counts once), measured per stage with the quickstart on two workers of a CPU machine.
"""

from polyglossa.costing.memory import GIB, Footprint
from polyglossa.costing.work import StageCost
from polyglossa.recipe import StagePlacement

_BASE_GIB = 1.6
"""The driver, Ray's own processes, idle workers."""


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
