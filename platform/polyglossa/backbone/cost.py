"""What the backbone stage costs: a tokenizer to train, where it is new, and weights to write."""

from polyglossa.costing.devices import Device
from polyglossa.costing.family import Family
from polyglossa.costing.memory import GIB
from polyglossa.costing.work import MODEL_BYTES, PlannedNode, StageCost, Work, no_footprint
from polyglossa.recipe import StagePlacement

_READ_FOR_TOKENIZER = 2.4e6  # bytes of text/s that a new tokenizer is trained on


def work(node: PlannedNode, family: Family) -> Work:
    """Count the text that a tokenizer is trained on, and the bytes of the weights."""
    member = family.owner(node.name)
    parameters = family.parameters_of(member)
    backbone = family.recipe.member(member).backbone
    trains = backbone is not None and backbone.model is None and "tokenizer" not in node.inputs
    return Work(
        parameters=parameters,
        shape=family.shape_of(member),
        stored_bytes=MODEL_BYTES * parameters,
        text_bytes=family.corpus_bytes if trains else 0.0,
    )


def seconds(work: Work, placement: StagePlacement, device: Device) -> float:
    """Read the text once, in one process."""
    return work.text_bytes / _READ_FOR_TOKENIZER


def process_gib(work: Work) -> float:
    """Count a tokenizer's sample, the model, and the other that a named one is compared with."""
    return 0.9 + 2 * MODEL_BYTES * work.parameters / GIB


COST = StageCost(
    work, seconds, no_footprint, start_seconds=2.0, again_share=0.1, worker_gib=0.6, process_gib=process_gib
)
