"""What the mine stage costs: queries and passages that a model embeds."""

from polyglossa.costing.embedding import embedder_footprint, embedding_seconds
from polyglossa.costing.family import Family
from polyglossa.costing.flops import forward_flops
from polyglossa.costing.work import PlannedNode, StageCost, Work
from polyglossa.recipe.sections.mine import MineConfig

_ROW_BYTES = 16  # an id for each text


def work(node: PlannedNode, family: Family) -> Work:
    """Count the texts that are embedded; of a model from outside, not its FLOPs."""
    assert isinstance(node.config, MineConfig)
    expect, largest = family.recipe.expect, family.largest_pack
    rows = expect.mined_rows if expect is not None else largest.rows
    length = largest.stored_tokens / max(1.0, largest.stored_texts)
    tokens, stored = 2 * rows * length, largest.stored_texts * _ROW_BYTES
    if not rows or "model" not in node.inputs:
        return Work(rows=rows, tokens=tokens, stored_bytes=stored)
    member = family.owner(node.inputs["model"])
    shape = family.shape_of(member)
    return Work(
        rows=rows,
        tokens=tokens,
        flops=tokens * forward_flops(shape, 1.5 * length),
        stored_bytes=stored,
        shape=shape,
        parameters=family.parameters_of(member),
        low_precision=node.config.dtype != "float32",
    )


def uncounted(node: PlannedNode) -> str | None:
    """Name the models from outside the recipe that are mined or re-scored with, if any are."""
    if not isinstance(node.config, MineConfig):
        return None
    model, rescore = node.config.model, node.config.rescore
    miner = [] if "model" in node.inputs else [model if isinstance(model, str) else model.label]
    scorer = [] if rescore is None else [f"{rescore.label} (at most {rescore.max_pairs:,} pairs)"]
    return " and ".join([*miner, *scorer]) or None


COST = StageCost(
    work, embedding_seconds, embedder_footprint, start_seconds=12.0, worker_gib=0.4, runs_model=True,
    uncounted=uncounted,
)  # fmt: skip
