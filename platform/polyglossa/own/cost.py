"""What the stage `own` costs besides vectors that evaluation stored: two processes that open a model each."""

from polyglossa.costing.work import StageCost, no_footprint, no_seconds, no_work

COST = StageCost(no_work, no_seconds, no_footprint, start_seconds=8.0, worker_gib=0.6)
