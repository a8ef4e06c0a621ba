"""What a search costs is not counted beforehand: how many trials run to their end is its result."""

from polyglossa.costing.work import StageCost, no_footprint, no_seconds, no_work

COST = StageCost(no_work, no_seconds, no_footprint)
