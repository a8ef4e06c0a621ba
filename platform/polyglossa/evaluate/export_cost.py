"""What exporting the texts of evaluation tasks costs: no more than its start."""

from polyglossa.costing.work import StageCost, no_footprint, no_seconds, no_work

COST = StageCost(no_work, no_seconds, no_footprint)
