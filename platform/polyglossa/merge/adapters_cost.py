"""What the adapters stage costs: no more than its start, in the driver's process."""

from polyglossa.costing.work import StageCost, no_footprint, no_seconds, no_work

COST = StageCost(no_work, no_seconds, no_footprint)
