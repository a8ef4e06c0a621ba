"""What the evaluate stage costs: texts of all tasks, embedded by one member."""

from polyglossa.costing.embedding import embedder_footprint, embedding_seconds
from polyglossa.costing.family import Family
from polyglossa.costing.flops import forward_flops
from polyglossa.costing.work import PlannedNode, StageCost, Work
from polyglossa.recipe.sections.evaluate import EvaluateConfig


def work(node: PlannedNode, family: Family) -> Work:
    """Count the texts that the recipe expects of its tasks."""
    assert isinstance(node.config, EvaluateConfig)
    member = family.owner(node.inputs["model"])
    shape, expect = family.shape_of(member), family.recipe.expect
    texts = 0
    if expect is not None:
        whole = node.config == family.recipe.evaluate.for_members()
        texts = expect.evaluation_texts if whole else expect.cheap_evaluation_texts
    length = expect.evaluation_tokens if expect is not None else 0.0
    return Work(
        rows=texts,
        tokens=texts * length,
        flops=texts * length * forward_flops(shape, 1.5 * length),
        parameters=family.parameters_of(member),
        shape=shape,
        low_precision=None if node.config.dtype is None else node.config.dtype == "bfloat16",
    )


COST = StageCost(
    work, embedding_seconds, embedder_footprint, start_seconds=11.0, again_share=0.3, worker_gib=1.2, runs_model=True
)
