"""Say what a node has to do, and what a stage costs: the types that every stage's `cost.py` fills in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from polyglossa.costing.devices import Device
from polyglossa.costing.memory import Footprint
from polyglossa.recipe import StagePlacement
from polyglossa.recipe.sections.backbone import Shape
from polyglossa.recipe.strict import Strict

if TYPE_CHECKING:
    from polyglossa.costing.family import Family

TOKEN_BYTES = 2.5
"""Of a token in a pack: uint32, zstd."""
TEXT_BYTES = 3.6
"""Of a token's text, over languages."""
MODEL_BYTES = 4
"""Weights are stored in float32."""


@dataclass(frozen=True)
class Work:
    """What one node has to do."""

    rows: float = 0
    tokens: float = 0
    """Tokens that pass through a model, over all steps."""
    flops: float = 0
    steps: int = 0
    step_tokens: float = 0
    step_texts: float = 0
    pass_tokens: int = 0
    """Tokens of one forward pass in training, where the profile sets none."""
    text_bytes: float = 0
    """Bytes of text that are read, cleaned or tokenised."""
    passes: float = 1.0
    """How often all of them are gone through."""
    stored_bytes: float = 0
    """Bytes of its artifact."""
    parameters: int = 0
    trained: int = 0
    """Of them, or beside them, those that get gradients: all, or a LoRA's parts."""
    shape: Shape | None = None
    teacher_width: int = 0
    low_precision: bool | None = True
    """Whether it is computed in bfloat16; None leaves it to the device: GPUs do, processors do not."""
    largest_share: float = 1.0
    """Of its rows, those that are in memory at a time, where sources are gone through one after another."""
    loss_bytes: float = 0.0
    """Of a training step's logits and masks beyond those of the published candidates."""


def precision_share(work: Work, device: Device) -> float:
    """Speed of the precision that is computed in, over bfloat16's."""
    return 1.0 if work.low_precision else device.float32_share


class PlannedNode(Protocol):
    """What a cost reads of a node of the graph."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def stage(self) -> str:
        """Its stage."""

    @property
    def config(self) -> Strict:
        """What shapes its artifact."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Names of the nodes that it reads, by role."""


def no_work(node: PlannedNode, family: "Family") -> Work:
    """Count only the start of a stage whose work does not grow with the data."""
    return Work()


def no_seconds(work: Work, placement: StagePlacement, device: Device) -> float:
    """Take no time besides the start."""
    return 0.0


def no_footprint(work: Work, placement: StagePlacement) -> Footprint | None:
    """Hold no model."""
    return None


def small_process(work: Work) -> float:
    """Take what a process with libraries and counts takes (GiB)."""
    return 0.6


def all_counted(node: PlannedNode) -> str | None:
    """Leave nothing of a node uncounted."""
    return None


def one_per_worker(placement: StagePlacement, models: int) -> int:
    """Start a process for each worker."""
    return max(1, placement.workers)


@dataclass(frozen=True)
class StageCost:
    """What a stage costs. Starts and processes were measured on two Zen 4 cores with the quickstart."""

    work: Callable[[PlannedNode, "Family"], Work] = field(repr=False)
    """(node, family) → what it has to do.

    Raises RecipeError where the recipe does not tell the shape of a model, or what the stage reads."""
    seconds: Callable[[Work, StagePlacement, Device], float] = field(repr=False)
    """Of the work, its start apart."""
    footprint: Callable[[Work, StagePlacement], Footprint | None] = field(repr=False)
    """Memory of a worker's device; None: it holds no model."""
    start_seconds: float = 0.0
    """Processes, imports, one first pass."""
    in_process_seconds: float | None = None
    """The same where no worker is started (`workers: 0`); None: as with workers."""
    again_share: float = 1.0
    """Share of the start that second and later nodes take: idle workers are there, and a group shares its own."""
    worker_gib: float = 0.0
    """Memory of one worker's process, models apart (PSS; a shared page counts once)."""
    task_gib: float | None = None
    """Memory of one task on a corpus of any size, models apart; None: no more than `worker_gib`."""
    process_gib: Callable[[Work], float] = field(default=small_process, repr=False)
    """Memory of the process that runs the stage (GiB)."""
    object_store_gib: float = 0.1
    """What it has in the object store of one node at once (GiB)."""
    fills_nodes: bool = False
    """Its tasks take all CPUs of a node, however many workers the profile counts on."""
    runs_model: bool = False
    """Each worker runs a model, so precision and device matter."""
    processes: Callable[[StagePlacement, int], int] = field(default=one_per_worker, repr=False)
    """(placement, models that the node reads) → processes at once."""
    uncounted: Callable[[PlannedNode], str | None] = field(default=all_counted, repr=False)
    """Names a model of no known size that the node runs, if it does."""

    def start(self, placement: StagePlacement, *, scale: float, again: bool) -> float:
        """Seconds before the work begins.

        Args:
            placement: its workers.
            scale: time of starting a process, relative to the machine that starts were measured on.
            again: whether another node of the stage went before.
        """
        if self.in_process_seconds is not None and placement.workers == 0:
            return self.in_process_seconds
        return self.start_seconds * scale * (self.again_share if again else 1.0)
