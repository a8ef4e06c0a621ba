"""Memory of one machine that runs everything: processes, models and what a step keeps, as the operating system counts.

Shares are of PSS (a shared page counts once), measured per stage with the quickstart on two workers of a CPU machine.
"""

from polyglossa.pipelines.capacity.memory import GIB, Footprint
from polyglossa.recipe import StagePlacement

_BASE_GIB = 1.6
"""The driver, Ray's own processes, idle workers."""
_WORKER_GIB = {
    "corpus": 0.3, "pack": 0.5, "train": 2.2, "mine": 0.4, "prune": 0.2, "distill": 1.0, "merge": 1.0, "evaluate": 1.2,
    "backbone": 0.6, "serve": 0.6,
}  # fmt: skip


def machine_gib(stage: str, placement: StagePlacement, footprint: Footprint | None, models: int = 1) -> float:
    """Memory of the machine while a stage runs (GiB).

    Args:
        stage: its name.
        placement: its workers.
        footprint: what each worker holds besides its process.
        models: models that are up at once (serving).
    """
    each = _WORKER_GIB.get(stage, 0.0) + (footprint.total / GIB if footprint is not None else 0.0)
    workers = models if stage == "serve" else max(1, placement.workers)
    return _BASE_GIB + workers * each
