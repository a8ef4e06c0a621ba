"""What the distill stage costs: every distinct text of a pack, embedded by a teacher and stored."""

from polyglossa.costing.embedding import embedder_footprint, embedding_seconds
from polyglossa.costing.family import Family
from polyglossa.costing.flops import forward_flops
from polyglossa.costing.work import PlannedNode, StageCost, Work
from polyglossa.recipe.sections.teacher import TeacherConfig

_COORDINATE_BYTES, _ID_BYTES = 2, 16


def work(node: PlannedNode, family: Family) -> Work:
    """Count texts and vectors; of a teacher from outside, not its FLOPs."""
    assert isinstance(node.config, TeacherConfig)
    counts = family.packs[node.inputs["pack"]]
    tokens = counts.stored_tokens * counts.distinct_share
    if node.config.outside is not None:
        stored = counts.stored_texts * (_COORDINATE_BYTES * (node.config.width or 0) + _ID_BYTES)
        return Work(rows=counts.stored_texts, tokens=tokens, stored_bytes=stored)
    member = family.owner(node.inputs["model"])
    shape = family.shape_of(member)
    width = node.config.width or shape.hidden
    return Work(
        rows=counts.stored_texts,
        tokens=tokens,
        flops=tokens * forward_flops(shape, counts.weighted_length),
        stored_bytes=counts.stored_texts * (_COORDINATE_BYTES * width + _ID_BYTES),
        parameters=family.parameters_of(member),
        shape=shape,
        low_precision=node.config.dtype == "bfloat16",
    )


def uncounted(node: PlannedNode) -> str | None:
    """Name the teacher from outside the recipe, if it is one."""
    assert isinstance(node.config, TeacherConfig)
    return None if node.config.outside is None else node.config.outside.label


COST = StageCost(
    work, embedding_seconds, embedder_footprint, start_seconds=9.0, worker_gib=1.0, runs_model=True,
    uncounted=uncounted,
)  # fmt: skip
