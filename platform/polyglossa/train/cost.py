"""What a training costs: steps, their arithmetic and exchange, and the memory of a rank."""

from dataclasses import dataclass

from polyglossa.costing.devices import Device
from polyglossa.costing.embedding import compute_units
from polyglossa.costing.family import Family
from polyglossa.costing.flops import low_rank_parameters, training_flops
from polyglossa.costing.memory import Footprint, StepLoad, training_footprint
from polyglossa.costing.work import MODEL_BYTES, PlannedNode, StageCost, Work, precision_share
from polyglossa.recipe import StagePlacement, TrainPlacement
from polyglossa.recipe.sections.train import StageConfig, TrainConfig

_MEMORY_SPEED = {True: 2e12, False: 1e10}  # bytes/s of an optimizer's pass over its states: GPU, CPU core
_BLOCK_ROWS = 1024  # `objectives/contrastive.py`: rows whose logits exist at a time
_STATE_BYTES = 28  # read and written by AdamW per parameter


def work(node: PlannedNode, family: Family) -> Work:
    """Count steps, tokens and FLOPs of a stage over its pack."""
    assert isinstance(node.config, TrainConfig)
    stage, counts = node.config.stage, family.packs[node.inputs["pack"]]
    member = family.owner(node.name)
    shape, parameters = family.shape_of(member), family.parameters_of(member)
    steps = stage.steps or max(1, round(stage.epochs * counts.rows / stage.global_batch))
    step_tokens = stage.global_batch * counts.row_tokens
    tokens = steps * step_tokens
    models = 1 + stage.late_checkpoints
    parts = None if stage.lora is None else low_rank_parameters(shape, stage.lora.rank, stage.lora.modules)
    return Work(
        rows=steps * stage.global_batch,
        tokens=tokens,
        flops=tokens * training_flops(shape, counts.weighted_length, frozen=parts is not None) * _passes(stage),
        steps=steps,
        step_tokens=step_tokens,
        step_texts=stage.global_batch * counts.row_texts,
        pass_tokens=stage.chunk_tokens,
        stored_bytes=models * MODEL_BYTES * parameters,
        parameters=parameters + (parts or 0),
        trained=parameters if parts is None else parts,
        shape=shape,
        teacher_width=(shape.hidden if node.config.distillation_weight else 0) + _guide_width(node, family),
        loss_bytes=_candidate_bytes(stage),
        low_precision=stage.dtype == "bfloat16",
    )


def _candidate_bytes(stage: StageConfig) -> float:
    """Bytes of further in-batch candidates: three copies of a block's logits, and masks."""
    rows = stage.global_batch
    columns = {"negatives": rows * stage.negatives, "queries": rows, "documents": rows}
    masks = {"negatives": 3, "queries": 1, "documents": 1}
    further = [kind for kind in stage.objective.candidates if kind in columns]
    return float(sum(columns[kind] * (3 * 4 * min(rows, _BLOCK_ROWS) + masks[kind] * rows) for kind in further))


def _passes(stage: StageConfig) -> int:
    """Forward passes of each text: one more where tokens are masked beside other terms."""
    objective = stage.objective
    beside = objective.hard_weight or objective.in_batch_weight or objective.terms
    return 2 if objective.masked_tokens is not None and beside else 1


def _guide_width(node: PlannedNode, family: Family) -> int:
    """Coordinates of a guide of the recipe; the width of one from outside is not known, and the member's is taken."""
    assert isinstance(node.config, TrainConfig)
    guide = node.config.stage.guide
    if guide is None:
        return 0
    member = family.owner(node.name) if guide.outside is not None else str(guide.model).partition("@")[0]
    return family.shape_of(member).hidden


def seconds(work: Work, placement: StagePlacement, device: Device) -> float:
    """Multiply the time of a step."""
    assert isinstance(placement, TrainPlacement)
    return work.steps * step_of(work, placement, device).seconds


def footprint(work: Work, placement: StagePlacement) -> Footprint | None:
    """Sum the bytes of one rank at its fullest."""
    assert isinstance(placement, TrainPlacement)
    assert work.shape is not None
    load = StepLoad(
        tokens=work.step_tokens / max(1, placement.workers),
        texts=work.step_texts,
        pass_tokens=pass_tokens(work, placement),
        teacher_width=work.teacher_width,
        loss_bytes=work.loss_bytes,
    )
    low = bool(work.low_precision)
    return training_footprint(work.shape, work.parameters, placement, load, trained=work.trained, low_precision=low)


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


def step_of(work: Work, placement: TrainPlacement, device: Device) -> Step:
    """Time one optimizer step of a rank."""
    assert work.shape is not None
    world = max(1, placement.workers)
    units = compute_units(placement)
    own = work.step_tokens / world
    rate = device.training_rate * precision_share(work, device)
    compute = work.step_tokens * (device.token_seconds + work.flops / work.tokens / rate) / units
    forward = work.flops / (3 if work.trained >= work.parameters else 2) / work.tokens / rate
    again = max(0.0, own - placement.resident_tokens) + (own if placement.gradient_checkpointing else 0.0)
    return Step(
        compute=compute,
        recompute=again * world * forward / units,
        exchange=_exchanged_bytes(work, placement, world, own) / _link(placement, device),
        update=_STATE_BYTES * work.trained / (world if placement.zero else 1) / _MEMORY_SPEED[placement.gpus > 0],
    )


def pass_tokens(work: Work, placement: TrainPlacement) -> int:
    """Tokens of one forward pass in training."""
    return placement.pass_tokens or work.pass_tokens


def _exchanged_bytes(work: Work, placement: TrainPlacement, world: int, own_tokens: float) -> float:
    """Bytes that a rank sends in a step: gradients in float32, and weights where ZeRO has split them."""
    if world == 1:
        return 0.0
    ring = (world - 1) / world
    gradients = 4 * work.trained * ring * (2 if placement.zero == 0 else 1)
    passes = max(1.0, own_tokens / pass_tokens(work, placement))
    gathered = work.parameters * 2.0 * passes if placement.zero == 3 else work.trained * float(placement.zero > 0)
    assert work.shape is not None
    table = work.step_texts * work.shape.hidden * 4
    return gradients + 4 * ring * gathered + table


def _link(placement: TrainPlacement, device: Device) -> float:
    """Bytes/s between ranks: the network's once they do not fit one node of eight devices."""
    return device.link if placement.workers <= 8 else min(device.link, device.network)


COST = StageCost(
    work, seconds, footprint, start_seconds=15.0, in_process_seconds=0.5, worker_gib=2.2, object_store_gib=1.0,
    runs_model=True,
)  # fmt: skip
