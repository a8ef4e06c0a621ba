"""What the mine stage costs: queries and passages that a model embeds."""

from polyglossa.costing.embedding import embedder_footprint, embedding_seconds
from polyglossa.costing.family import Family
from polyglossa.costing.flops import forward_flops
from polyglossa.costing.memory import GIB
from polyglossa.costing.work import MODEL_BYTES, TEXT_BYTES, PlannedNode, StageCost, Work
from polyglossa.mine.gathering.parts import largest_share
from polyglossa.recipe.sections.mine import MineConfig

_ROW_BYTES = 16  # an id for each text


def work(node: PlannedNode, family: Family) -> Work:
    """Count the texts that are embedded; of a model from outside, not its FLOPs."""
    assert isinstance(node.config, MineConfig)
    expect, largest = family.recipe.expect, family.largest_pack
    rows = expect.mined_rows if expect is not None else largest.rows
    length = largest.stored_tokens / max(1.0, largest.stored_texts)
    tokens, stored = 2 * rows * length, largest.stored_texts * _ROW_BYTES
    share = 1.0 if node.config.pool == "all" else largest_share(rows, _known_rows(node.config, family))
    if not rows or "model" not in node.inputs:
        return Work(rows=rows, tokens=tokens, stored_bytes=stored, largest_share=share)
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
        largest_share=share,
    )


def _known_rows(config: MineConfig, family: Family) -> dict[str, int]:
    """Mined rows of the sources that the recipe counts one by one."""
    expect, most = family.recipe.expect, config.max_queries
    stages = expect.stages.values() if expect is not None else ()
    known = {name: count for stage in stages for name, count in stage.rows_by_source.items()}
    named = {name: count for name, count in known.items() if config.sources is None or name in config.sources}
    return {name: count if most is None else min(count, most) for name, count in named.items()}


def uncounted(node: PlannedNode) -> str | None:
    """Name the models from outside the recipe that are mined or re-scored with, if any are."""
    if not isinstance(node.config, MineConfig):
        return None
    model, rescore = node.config.model, node.config.rescore
    miner = [] if "model" in node.inputs else [model if isinstance(model, str) else model.label]
    scorer = [] if rescore is None else [f"{rescore.label} (at most {rescore.max_pairs:,} pairs)"]
    return " and ".join([*miner, *scorer]) or None


def process_gib(work: Work) -> float:
    """Count the texts of the largest part's rows and their pools, four times, and the model, which renders prompts."""
    return 0.8 + (4 * work.largest_share * work.tokens * TEXT_BYTES + MODEL_BYTES * work.parameters) / GIB


COST = StageCost(
    work, embedding_seconds, embedder_footprint, start_seconds=12.0, worker_gib=0.4, task_gib=1.6, runs_model=True,
    process_gib=process_gib, object_store_gib=0.5, uncounted=uncounted,
)  # fmt: skip
