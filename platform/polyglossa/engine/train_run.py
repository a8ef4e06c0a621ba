"""Describe one training run, and how a rank computes it: plain values that travel to workers. No torch here."""

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from polyglossa.artifact import exists, read_json
from polyglossa.data.feed_spec import FeedSpec
from polyglossa.engine.stage_spec import GuideTerm, StageSpec, TeacherTerm
from polyglossa.recipe.placement import TrackingConfig, TrainPlacement

if TYPE_CHECKING:
    from polyglossa.runtime.precision import DeviceFacts

SUMMARY = "trained.json"
"""What a run writes last into its results."""


@dataclass(frozen=True)
class RunTeacher:
    """One teacher of a run."""

    uri: str
    """Its store, or its model directory where teachers are live."""
    term: TeacherTerm


@dataclass(frozen=True)
class TrainRun:
    """What one run trains on, how, and where its results go."""

    name: str
    model_uri: str
    """A model directory."""
    output_uri: str
    """Gets `model/`, `metrics.jsonl` and, last of all, `trained.json`."""
    checkpoint_uri: str
    stage: StageSpec
    feed: FeedSpec
    """What it reads; with the stores of teachers that are not `live`, and last that of the guide."""
    total_steps: int
    width: int
    """Width of the model."""
    teachers: tuple[RunTeacher, ...] = ()
    live: bool = False
    """Teachers run beside the student."""
    distillation_weight: float = 0.0
    guide: GuideTerm | None = None
    """Who leaves in-batch candidates out."""
    evaluate_every: int | None = None
    """Steps between evaluations beside the training; None makes none."""

    @property
    def teacher_terms(self) -> tuple[TeacherTerm, ...]:
        """Return each teacher's part of the loss."""
        return tuple(teacher.term for teacher in self.teachers)

    @property
    def projections(self) -> tuple[int, ...]:
        """Return the widths of the learned maps into teachers' spaces."""
        return tuple(term.width for term in self.teacher_terms if term.projected)

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
    beside: "tuple[DeviceFacts, ...]" = ()
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
