"""Memory of one device: what a training rank and an embedding worker hold, item by item.

The engine keeps weights, gradient sums and both moments in float32 and computes under autocast to bfloat16, so a
parameter costs 16 bytes before ZeRO divides it (ZeRO 1: optimizer, 2: gradients too, 3: weights too), a frozen one 4;
from stage 1 on DeepSpeed holds a float32 copy of its part of the weights that are trained. Activations were measured
with saved-tensor hooks on the engine's embedder: per token and layer 26 bytes of the width, 8 of the MLP's, 10.5 of the
query and of the key heads' (bfloat16), and one bfloat16 copy of all matrices for every pass whose graph is kept.
"""

from dataclasses import dataclass

from polyglossa.costing.flops import linear_parameters
from polyglossa.recipe import TrainPlacement
from polyglossa.recipe.sections.backbone import Shape

GIB = 2**30
_BUCKETS = 2 * 200_000_000 * 4  # two float32 buckets of DeepSpeed at the size that the engine sets
_CONTEXT = 1.5 * GIB  # CUDA context, kernels, allocator's rounding
_LOSS_COPIES = 4  # the gathered table, its own rows, normalised, gradient


@dataclass(frozen=True)
class Footprint:
    """Bytes of one device by what they are for."""

    items: dict[str, float]

    @property
    def total(self) -> float:
        """Bytes."""
        return sum(self.items.values())

    def arithmetic(self) -> str:
        """The sum, item by item, in GiB."""
        parts = " + ".join(f"{name} {value / GIB:.1f}" for name, value in self.items.items() if value / GIB >= 0.05)
        return f"{parts} = {self.total / GIB:.1f} GiB"


@dataclass(frozen=True)
class StepLoad:
    """What a rank is given at a step."""

    tokens: float
    """Of this rank."""
    texts: float
    """Of the global batch: every rank holds the table of all states."""
    pass_tokens: int
    teacher_width: int = 0
    loss_bytes: float = 0.0
    """Of the loss over the global batch, beyond the table."""


def states(parameters: int, zero: int, world: int, trained: int | None = None) -> dict[str, float]:
    """Bytes of weights, gradients and optimizer on one rank, as this engine keeps them; `trained` None: of all."""
    trained = parameters if trained is None else trained
    split = {stage: 1 / world if zero >= stage else 1.0 for stage in (1, 2, 3)}
    return {
        "weights": 4 * parameters * split[3],
        "gradients": 4 * trained * split[2],
        "optimizer": (12 if zero else 8) * trained * split[1],
    }


def least_states(parameters: int, zero: int, world: int, trained: int | None = None) -> float:
    """Bytes that any mixed-precision training needs: weights and gradients in bfloat16, float32 copy and moments."""
    trained = parameters if trained is None else trained
    split = {stage: 1 / world if zero >= stage else 1.0 for stage in (1, 2, 3)}
    return 2 * parameters * split[3] + trained * (2 * split[2] + 12 * split[1])


def activation_bytes(shape: Shape, *, low_precision: bool) -> tuple[float, float]:
    """Bytes of one token's kept graph: all of it, and of that one layer."""
    heads = (shape.heads + shape.kv_heads) * shape.head_dim
    layer = 26.1 * shape.hidden + 8 * shape.mlp + 10.5 * heads
    if not low_precision:
        layer = 24.1 * shape.hidden + 16 * shape.mlp + 16.5 * heads
    return shape.layers * layer + 8 * shape.hidden, layer


def training_footprint(
    shape: Shape,
    parameters: int,
    placement: TrainPlacement,
    load: StepLoad,
    *,
    trained: int | None = None,
    low_precision: bool = True,
) -> Footprint:
    """Bytes of one training rank at its fullest.

    Args:
        shape: of the model.
        parameters: of the model, its table included.
        placement: workers, ZeRO stage, checkpointing, resident tokens.
        load: the largest usual step.
        trained: parameters that get gradients; None: all.
        low_precision: bfloat16 autocast.
    """
    whole, layer = activation_bytes(shape, low_precision=low_precision)
    resident = min(load.tokens, max(placement.resident_tokens, load.pass_tokens))
    passes = max(1.0, resident / load.pass_tokens)
    if placement.gradient_checkpointing:
        boundary = 4 * shape.hidden * shape.layers + 8 * shape.hidden
        activations = resident * boundary + min(resident, load.pass_tokens) * layer
        passes = 1.0
    else:
        activations = resident * whole
    copies = 2 * linear_parameters(shape) * passes if low_precision else 0.0
    table = load.texts * (_LOSS_COPIES * 4 * shape.hidden + 2 * load.teacher_width) + load.loss_bytes
    gpu = bool(placement.gpus)
    return Footprint(
        {
            **states(parameters, placement.zero, max(1, placement.workers), trained),
            "bfloat16 copies": copies,
            "activations": activations,
            "embeddings": table,
            "buckets": _BUCKETS if placement.zero and gpu else 0.0,
            "context": _CONTEXT if gpu else 0.0,
        }
    )


def embedding_footprint(
    shape: Shape, parameters: int, *, low_precision: bool, chunk_tokens: int = 16_384, gpu: bool = True
) -> Footprint:
    """Bytes of a worker that embeds: weights, one pass, and nothing kept."""
    width = 2 if low_precision else 4
    layer = width * (4 * shape.hidden + 3 * shape.mlp + 2 * (shape.heads + shape.kv_heads) * shape.head_dim)
    return Footprint(
        {"weights": width * parameters, "activations": chunk_tokens * layer, "context": _CONTEXT if gpu else 0.0}
    )
