"""Estimate the seconds that a node's work takes on its placement.

A stage is its start (`pipeline/stages.py`) plus its work over its workers. Rates of what runs on CPUs were measured on
two Zen 4 cores with the quickstart; `Calibration.start_scale` moves the starts.
"""

from dataclasses import dataclass

from polyglossa.capacity.devices import Calibration, Device, device_of
from polyglossa.capacity.work import NodeWork
from polyglossa.pipeline.stages import find_stage
from polyglossa.recipe import StagePlacement, TrainPlacement

SESSION_SECONDS = 9.0
"""Starting and stopping Ray, once a run."""

_HERE_SECONDS = 0.5  # training in the driver's process
_ROWS_PER_CPU = 18_000.0  # rows/s that the corpus stage reads, cleans and writes
_CLEANED_PER_CPU = 4e6  # bytes of text/s, the same
_READ_FOR_TOKENIZER = 2.4e6  # bytes of text/s that a new tokenizer is trained on
_PACKED_PER_CPU = 2e6  # bytes of text/s rendered and tokenised
_MEMORY_SPEED = {True: 2e12, False: 1e10}  # bytes/s of an optimizer's pass over its states: GPU, CPU core
_STATE_BYTES = 28  # read and written by AdamW per parameter
_EMBED_TOKEN_SHARE = 1 / 3  # of a training token's fixed time


@dataclass(frozen=True)
class Step:
    """One optimizer step of a rank (seconds), by what it is spent on."""

    compute: float
    recompute: float
    exchange: float
    update: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compute + self.recompute + self.exchange + self.update


def seconds_of(
    stage: str, work: NodeWork, placement: StagePlacement, calibration: Calibration, *, again: bool = False
) -> float:
    """Seconds of a node; `again` says that another one of its stage went before."""
    device = device_of(placement, calibration)
    cost = find_stage(stage).cost
    start = cost.start_seconds * calibration.start_scale * (cost.again_share if again else 1.0)
    cpus = max(1, placement.workers) * max(1.0, placement.cpus if not placement.gpus else 1.0)
    if stage == "corpus":
        once = work.rows / (cpus * _ROWS_PER_CPU) + work.text_bytes / (cpus * _CLEANED_PER_CPU)
        return start + work.details.get("passes", 1.0) * once
    if stage == "backbone":
        return start + work.text_bytes / _READ_FOR_TOKENIZER
    if stage == "pack":
        return start + work.text_bytes / (cpus * _PACKED_PER_CPU)
    if stage == "train":
        assert isinstance(placement, TrainPlacement)
        here = _HERE_SECONDS if placement.workers == 0 else start
        return here + work.steps * step_of(work, placement, device).seconds
    if work.tokens:
        return start + embedding_seconds(work, placement, device)
    return start


def embedding_seconds(work: NodeWork, placement: StagePlacement, device: Device) -> float:
    """Seconds of forward passes over all tokens, shared by the workers."""
    each = _EMBED_TOKEN_SHARE * device.token_seconds + work.flops / work.tokens / (
        device.embedding_rate * _precision_share(work, device)
    )
    return work.tokens * each / _units(placement)


def step_of(work: NodeWork, placement: TrainPlacement, device: Device) -> Step:
    """Time one optimizer step of a rank."""
    assert work.shape is not None
    world = max(1, placement.workers)
    units = _units(placement)
    own = work.step_tokens / world
    rate = device.training_rate * _precision_share(work, device)
    compute = work.step_tokens * (device.token_seconds + work.flops / work.tokens / rate) / units
    forward = work.flops / 3 / work.tokens / rate
    again = max(0.0, own - placement.resident_tokens) + (own if placement.gradient_checkpointing else 0.0)
    return Step(
        compute=compute,
        recompute=again * world * forward / units,
        exchange=_exchanged_bytes(work, placement, world, own) / _link(placement, device),
        update=_STATE_BYTES * work.parameters / (world if placement.zero else 1) / _MEMORY_SPEED[placement.gpus > 0],
    )


def _precision_share(work: NodeWork, device: Device) -> float:
    """Speed of the precision that is computed in, over bfloat16's."""
    return 1.0 if work.low_precision else device.float32_share


def pass_tokens(work: NodeWork, placement: TrainPlacement) -> int:
    """Tokens of one forward pass in training."""
    return placement.pass_tokens or int(work.details["chunk_tokens"])


def _units(placement: StagePlacement) -> float:
    """GPUs, or cores, that all workers compute on."""
    return max(1, placement.workers) * (1 if placement.gpus else max(1, placement.threads))


def _exchanged_bytes(work: NodeWork, placement: TrainPlacement, world: int, own_tokens: float) -> float:
    """Bytes that a rank sends in a step: gradients in float32, and weights where ZeRO has split them."""
    if world == 1:
        return 0.0
    ring = (world - 1) / world
    gradients = 4 * work.parameters * ring * (2 if placement.zero == 0 else 1)
    passes = max(1.0, own_tokens / pass_tokens(work, placement))
    gathers = {0: 0.0, 1: 1.0, 2: 1.0, 3: 2.0 * passes}[placement.zero]
    assert work.shape is not None
    table = work.step_texts * work.shape.hidden * 4
    return gradients + 4 * work.parameters * ring * gathers + table


def _link(placement: TrainPlacement, device: Device) -> float:
    """Bytes/s between ranks: the network's once they do not fit one node of eight devices."""
    return device.link if placement.workers <= 8 else min(device.link, device.network)
