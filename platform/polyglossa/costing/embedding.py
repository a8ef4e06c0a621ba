"""Time and memory of stages that run a model forward over texts."""

from polyglossa.costing.devices import Device
from polyglossa.costing.memory import Footprint, embedding_footprint
from polyglossa.costing.work import Work, precision_share
from polyglossa.recipe import StagePlacement

_TOKEN_SHARE = 1 / 3  # of a training token's fixed time


def embedding_seconds(work: Work, placement: StagePlacement, device: Device) -> float:
    """Seconds of forward passes over all tokens, shared by the workers."""
    if not work.tokens:
        return 0.0
    rate = device.embedding_rate * precision_share(work, device)
    each = _TOKEN_SHARE * device.token_seconds + work.flops / work.tokens / rate
    return work.tokens * each / compute_units(placement)


def embedder_footprint(work: Work, placement: StagePlacement) -> Footprint | None:
    """Bytes of a worker that embeds; None where the model's shape is not known."""
    if work.shape is None:
        return None
    gpu = bool(placement.gpus)
    return embedding_footprint(work.shape, work.parameters, low_precision=bool(work.low_precision), gpu=gpu)


def compute_units(placement: StagePlacement) -> float:
    """GPUs, or cores, that all workers compute on."""
    return max(1, placement.workers) * (1 if placement.gpus else max(1, placement.threads))


def cpus_of(placement: StagePlacement) -> float:
    """CPUs that all workers have, where they work on CPUs."""
    return max(1, placement.workers) * max(1.0, placement.cpus if not placement.gpus else 1.0)
