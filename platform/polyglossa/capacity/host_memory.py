"""Memory of one machine that runs everything: processes, models and what a step keeps, as the operating system counts.

Shares are of PSS (a shared page counts once), measured per stage with the quickstart on two workers of a CPU machine.
"""

from polyglossa.capacity.memory import GIB, Footprint
from polyglossa.pipeline.stages import find_stage
from polyglossa.recipe import StagePlacement

_BASE_GIB = 1.6
"""The driver, Ray's own processes, idle workers."""


def machine_gib(stage: str, placement: StagePlacement, footprint: Footprint | None, models: int = 1) -> float:
    """Memory of the machine while a stage runs (GiB).

    Args:
        stage: its name.
        placement: its workers.
        footprint: what each worker holds besides its process.
        models: models that are up at once (serving).
    """
    each = find_stage(stage).cost.worker_gib + (footprint.total / GIB if footprint is not None else 0.0)
    workers = models if stage == "serve" else max(1, placement.workers)
    return _BASE_GIB + workers * each
