"""What the pack stage costs: bytes of text that are rendered and tokenised."""

from polyglossa.costing.devices import Device
from polyglossa.costing.embedding import cpus_of
from polyglossa.costing.family import Family
from polyglossa.costing.memory import GIB
from polyglossa.costing.work import TEXT_BYTES, TOKEN_BYTES, PlannedNode, StageCost, Work, no_footprint
from polyglossa.recipe import StagePlacement
from polyglossa.recipe.sections.pack import PackConfig

_PACKED_PER_CPU = 2e6  # bytes of text/s rendered and tokenised


def work(node: PlannedNode, family: Family) -> Work:
    """Count the texts of a pack."""
    counts = family.packs[node.name]
    return Work(
        rows=counts.rows,
        text_bytes=counts.stored_tokens * TEXT_BYTES,
        stored_bytes=counts.stored_tokens * TOKEN_BYTES,
    )


def seconds(work: Work, placement: StagePlacement, device: Device) -> float:
    """Divide the bytes by what the workers' CPUs pack."""
    return work.text_bytes / (cpus_of(placement) * _PACKED_PER_CPU)


_BUNDLE_BYTES = 300  # of a bundle in the index, as the stage's process holds it


def process_gib(work: Work) -> float:
    """Count the index: what the process holds besides counts."""
    return 0.5 + work.rows / PackConfig.model_fields["bundle_rows"].default * _BUNDLE_BYTES / GIB


COST = StageCost(
    work, seconds, no_footprint, start_seconds=4.0, again_share=0.1, worker_gib=0.5, task_gib=0.9,
    process_gib=process_gib, fills_nodes=True,
)  # fmt: skip
