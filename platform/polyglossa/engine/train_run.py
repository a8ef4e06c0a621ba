"""Describe one training run, and how a rank computes it: plain values that travel to workers."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polyglossa.artifact import exists, read_json
from polyglossa.data.bundles import TeacherStore
from polyglossa.data.feed_spec import FeedSpec
from polyglossa.engine.checkpoints.export import SUMMARY
from polyglossa.engine.objective import TeacherTerm
from polyglossa.recipe.placement import TrackingConfig, TrainPlacement
from polyglossa.runtime.precision import DeviceFacts


@dataclass(frozen=True)
class TrainRun:
    """What one run trains on and where its results go. Plain values: it travels to workers."""

    name: str
    model_uri: str
    """A model directory."""
    pack_uri: str
    output_uri: str
    """Gets `model/`, `metrics.jsonl` and, last of all, `trained.json`."""
    checkpoint_uri: str
    stage: Mapping[str, Any]
    """`StageConfig.model_dump()`."""
    total_steps: int
    width: int
    """Width of the model."""
    teacher_uris: tuple[str, ...] = ()
    """Teacher stores; model directories where teachers are `live`."""
    teacher_widths: tuple[int, ...] = ()
    """First coordinates of each teacher's states that are compared."""
    teacher_shares: tuple[float, ...] = ()
    """Weight of each teacher."""
    projected: tuple[bool, ...] = ()
    """Whether the student's states are compared through a learned map into that teacher's space."""
    live: bool = False
    """Teachers run beside the student."""
    distillation_weight: float = 0.0
    evaluate_every: int | None = None
    """Steps between evaluations beside the training; None makes none."""

    def feed(self) -> FeedSpec:
        """What the feed reads for this run."""
        stores = () if self.live else tuple(map(TeacherStore, self.teacher_uris, self.teacher_widths))
        return FeedSpec.of_stage(self.stage, self.pack_uri, stores)

    @property
    def taught(self) -> tuple[TeacherTerm, ...]:
        """Each teacher's part of the loss."""
        return tuple(map(TeacherTerm, self.teacher_widths, self.teacher_shares, self.projected))

    @property
    def projections(self) -> tuple[int, ...]:
        """Widths of the learned maps."""
        return tuple(one.width for one in self.taught if one.projected)

    def evaluated_after(self, step: int) -> bool:
        """Whether the model after `step` updates is evaluated; the last one is, wherever it stands."""
        every = self.evaluate_every
        return every is not None and (step % every == 0 or step == self.total_steps)

    def checkpointed_after(self, step: int, every: int) -> bool:
        """Whether a checkpoint follows `step` updates: each `every` of them, and for evaluations; not the last ones."""
        return step < self.total_steps and (step % every == 0 or self.evaluated_after(step))

    @property
    def finished(self) -> bool:
        """Whether the results are written."""
        return exists(posixpath.join(self.output_uri, SUMMARY))


@dataclass(frozen=True)
class Compute:
    """How a rank computes; changes memory and time, never the numbers."""

    zero: int | None
    """DeepSpeed ZeRO stage; None is the plain torch backend."""
    resident_tokens: int
    checkpoint_steps: int
    pass_tokens: int | None = None
    """Tokens of one forward pass; None takes the stage's `chunk_tokens`."""
    keep_checkpoints: int = 2
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    device: str = "cpu"
    beside: tuple[DeviceFacts, ...] = ()
    """Devices that compute other runs which this one is compared with: all of them share one precision."""
    gradient_checkpointing: bool = False
    compile: bool = False
    """Whether layers are compiled; changes rounding, as another device does."""

    @classmethod
    def of(cls, placement: TrainPlacement, *, zero: int | None, device: str) -> "Compute":
        """Take a profile's settings."""
        return cls(
            zero=zero,
            resident_tokens=placement.resident_tokens,
            checkpoint_steps=placement.checkpoint_steps,
            pass_tokens=placement.pass_tokens,
            keep_checkpoints=placement.keep_checkpoints,
            tracking=placement.tracking,
            device=device,
            gradient_checkpointing=placement.gradient_checkpointing,
            compile=placement.compile,
        )


def width_of(model_uri: str) -> int:
    """Read the width of a model's states from its directory: the widest of those that vectors may be cut to."""
    return max(read_json(posixpath.join(model_uri, "config.json"))["matryoshka_dimensions"])
