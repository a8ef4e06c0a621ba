"""What the merge stage costs: validation searches of each candidate average."""

from polyglossa.costing.embedding import embedder_footprint, embedding_seconds
from polyglossa.costing.family import Family
from polyglossa.costing.flops import forward_flops
from polyglossa.costing.work import MODEL_BYTES, PlannedNode, StageCost, Work
from polyglossa.recipe.sections.merge import MergeConfig
from polyglossa.recipe.sections.train import TrainConfig

_MOST_SOURCES = 500


def work(node: PlannedNode, family: Family) -> Work:
    """Count the texts that every candidate embeds."""
    assert isinstance(node.config, MergeConfig)
    member = family.owner(node.name)
    shape, parameters = family.shape_of(member), family.parameters_of(member)
    counts = family.packs[node.inputs["pack"]]
    models = 2 + sum(role.startswith("model:") for role in node.inputs) + _late_models(node, family)
    texts = models * 2 * node.config.validation_queries * min(counts.sources, _MOST_SOURCES)
    tokens = texts * counts.stored_tokens / max(1.0, counts.stored_texts)
    return Work(
        tokens=tokens,
        flops=tokens * forward_flops(shape, counts.weighted_length),
        stored_bytes=MODEL_BYTES * parameters,
        parameters=parameters,
        shape=shape,
        low_precision=None,
    )


def _late_models(node: PlannedNode, family: Family) -> int:
    trained = (family.nodes[name] for role, name in node.inputs.items() if role.startswith("model:"))
    return sum(one.config.stage.late_checkpoints for one in trained if isinstance(one.config, TrainConfig))


COST = StageCost(
    work, embedding_seconds, embedder_footprint, start_seconds=10.0, again_share=0.15, worker_gib=1.0, runs_model=True
)
