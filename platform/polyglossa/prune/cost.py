"""What the prune stage costs: a model held and written; its calibration texts are few."""

from polyglossa.costing.embedding import embedder_footprint
from polyglossa.costing.family import Family
from polyglossa.costing.work import MODEL_BYTES, PlannedNode, StageCost, Work, no_seconds


def work(node: PlannedNode, family: Family) -> Work:
    """Count the weights that are left."""
    member = family.owner(node.name)
    parameters = family.parameters_of(member)
    return Work(parameters=parameters, shape=family.shape_of(member), stored_bytes=MODEL_BYTES * parameters)


COST = StageCost(
    work, no_seconds, embedder_footprint, start_seconds=8.5, again_share=0.1, worker_gib=0.2, runs_model=True
)
