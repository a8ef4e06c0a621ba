"""Placement profiles: where a run happens. Never part of an artifact's hash: a recipe means the same anywhere."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from polyglossa.recipe.strict import Strict

GROUP_LABEL = "group"
"""Ray label of every machine of a cluster: the name of its group. Placements select machines by it."""


class StagePlacement(Strict):
    """Resources of one stage."""

    workers: int = Field(1, ge=1)
    """Worker processes or actors."""
    cpus: float = Field(1.0, ge=0)
    """CPUs per worker."""
    gpus: float = Field(0.0, ge=0)
    """GPUs per worker."""
    threads: int = Field(1, ge=1)
    """Torch threads per worker."""
    labels: dict[str, str] = {}
    """Ray label selector of the nodes to run on."""
    device: str | None = None
    """What a worker's GPU (or CPU) is, as `polyglossa plan` knows it: `H100-80G`, `L4`, `cpu-core` (computes
    bfloat16), `cpu-core-float32` (emulates it) …; None: `H100-80G` with GPUs, without them a core of the machine that
    plans. Changes no run."""

    @property
    def ray_options(self) -> dict[str, Any]:
        """What a worker asks Ray for: options of a task or an actor."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "label_selector": dict(self.labels) or None}

    @property
    def data_options(self) -> dict[str, Any]:
        """The same for Ray Data, which takes no None."""
        return {option: value for option, value in self.ray_options.items() if value is not None}

    @property
    def torch_device(self) -> str:
        """Torch device of a worker: a GPU only where one is reserved, whatever else is in sight."""
        return "cuda" if self.gpus else "cpu"


class TrackingConfig(Strict):
    """Where training can be watched, besides the terminal and `metrics.jsonl`."""

    tensorboard: str | None = None
    """Folder of event files, one sub-folder a run; on storage that the workers share."""
    mlflow: str | None = None
    """Tracking URI of MLflow."""
    wandb: str | None = None
    """Project of Weights & Biases; the key is read from WANDB_API_KEY."""


class TrainPlacement(StagePlacement):
    """Resources of a training stage."""

    workers: int = Field(2, ge=0)
    """Worker processes; 0 trains in the driver's own process, without a worker group: for small runs."""
    min_workers: int | None = Field(None, ge=1)
    """Fewest workers that training goes on with when nodes leave (elastic); None waits for all of them."""
    gradient_checkpointing: bool = False
    """Keep only layer inputs and compute the rest again in the backward pass: less memory, about a third slower."""
    zero: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO stage; changes memory, never the numbers."""
    compile: bool = False
    """Fuse what lies around the products of a layer with `torch.compile`: for GPUs, where it waits for memory. A
    choice, off in every profile here: `make bench-gpu` tells what it gains on a device. The first steps take a minute
    or two longer; not with ZeRO 3, whose weights come and go by hooks."""
    pass_tokens: int | None = Field(None, ge=16)
    """Tokens that one forward pass takes, as whole chunks; None takes the stage's `chunk_tokens`. A CPU core is as fast
    with few; a GPU wants many, and each pass under bfloat16 makes a copy of the weights."""
    resident_tokens: int = Field(12_288, ge=16)
    """Tokens whose graphs are kept for one backward; beyond it gradients are cached and recomputed (two passes). A step
    of the quickstart that needs no second pass is a fifth shorter in float32."""
    checkpoint_steps: int = Field(200, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(2, ge=2)
    """Newest checkpoints that stay, besides the one of the lowest validation loss. Two at least: one may be cut short
    while the other is read."""
    tracking: TrackingConfig = TrackingConfig()
    """Where the run can be watched."""
    max_failures: int = Field(3, ge=-1)
    """Worker-group restarts before the run fails; -1 means no limit."""

    @model_validator(mode="after")
    def _compiles_whole_weights(self) -> Self:
        if self.compile and self.zero == 3:
            raise ValueError("compile: true takes zero: 0, 1 or 2, for ZeRO 3 splits the weights of compiled layers")
        return self


class TunePlacement(StagePlacement):
    """Resources of a search: a trial trains its student in one process of its own."""

    workers: int = Field(2, ge=1)
    """Trials at the same time."""
    max_failures: int = Field(2, ge=0)
    """How often a trial that died (out of memory, lost worker) is tried again before it counts as failed."""


class GroupLimit(Strict):
    """What a group of machines may grow to, where it is not what the cluster's spec says."""

    machines: int = Field(ge=1)
    """Most machines."""
    cpus: int = Field(ge=1)
    """CPUs of a machine."""
    gpus: int = Field(0, ge=0)
    """GPUs of a machine."""


class Profile(Strict):
    """Placement of every stage on one cluster."""

    name: str = "local"
    cpus: int | None = Field(None, ge=1)
    """CPUs of a Ray started here; None takes what the machine has. Not used when joining a cluster."""
    object_store_gib: float = Field(0.75, gt=0)
    """Object store of a Ray started here (GiB)."""
    groups: dict[str, GroupLimit] = {}
    """Limits of groups by name; the cluster's spec says those that are not named here."""
    concurrent_nodes: int | None = Field(None, ge=1)
    """Artifacts in the making at the same time, at most; None: as many as find room for all of their workers. On two
    cores that is one after another, but for stages that take one core."""
    synthesize: StagePlacement = StagePlacement()
    corpus: StagePlacement = StagePlacement(workers=2)
    backbone: StagePlacement = StagePlacement(cpus=2)
    mine: StagePlacement = StagePlacement(workers=2)
    pack: StagePlacement = StagePlacement(workers=2)
    train: TrainPlacement = TrainPlacement()
    prune: StagePlacement = StagePlacement(threads=2)
    distill: StagePlacement = StagePlacement(workers=2)
    merge: StagePlacement = StagePlacement()
    evaluate: StagePlacement = StagePlacement(workers=2)
    tune: TunePlacement = TunePlacement()
    serve: StagePlacement = StagePlacement(cpus=0.5)
