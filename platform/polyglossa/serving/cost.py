"""What the serve stage costs: the endpoint's start and check, with a replica of each model."""

from polyglossa.costing.work import StageCost, no_footprint, no_seconds, no_work
from polyglossa.recipe import StagePlacement


def processes(placement: StagePlacement, models: int) -> int:
    """Start a process for each model."""
    return models


COST = StageCost(no_work, no_seconds, no_footprint, start_seconds=18.0, worker_gib=0.6, processes=processes)
