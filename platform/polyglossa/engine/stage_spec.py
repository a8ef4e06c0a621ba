"""Specs of a training stage: the recipe's settings as frozen values, built once and read by name.

No torch: a run's specs travel through Ray's coordinators, which do without.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from polyglossa.model.variants.adaptation import Adaptation, Lora

if TYPE_CHECKING:
    from polyglossa.recipe.sections.train import LoraConfig, ObjectiveConfig, StageConfig


@dataclass(frozen=True)
class TeacherTerm:
    """One teacher's part of the loss."""

    width: int
    """Coordinates of its states in a batch."""
    share: float = 1.0
    """Weight of all its terms."""
    projected: bool = False
    """Whether the table carries a projection of the student's states into its space."""


@dataclass(frozen=True)
class GuideTerm:
    """How a second encoder leaves in-batch candidates out; its states stand behind the teachers' in a batch."""

    width: int
    """Coordinates of its states in a batch."""
    margin: float
    most: float
    """Largest share of a row's candidates that it may leave out."""
    sources: tuple[int, ...] | None = None
    """Numbers, in the plan, of the sources whose rows it guides; None means all."""


@dataclass(frozen=True)
class MaskedSpec:
    """A term over tokens that are masked and filled in."""

    weight: float
    share: float
    token: str | None
    """What stands for a masked token; None takes the tokenizer's own."""


@dataclass(frozen=True)
class ObjectiveSpec:
    """The contrastive objective and its further terms; see `recipe/sections/train.py` for what each value means."""

    temperature: float
    learned_temperature: bool
    matryoshka: Literal["none", "published", "uniform", "learned"]
    hard_weight: float
    in_batch_weight: float
    gather: Literal["with_grad", "query_only"]
    mask: Literal["none", "known", "known+score"]
    score_margin: float
    bidirectional: bool
    terms: Mapping[str, float]
    """Weights of further terms by their names in `objectives/terms.py`."""
    layer_exits: bool
    candidates: tuple[str, ...] = ("positives",)
    rescored_scale: float = 1.0
    masked_tokens: MaskedSpec | None = None

    @classmethod
    def of(cls, config: "ObjectiveConfig") -> "ObjectiveSpec":
        """Take a recipe's objective."""
        masked = config.masked_tokens
        return cls(
            temperature=config.temperature,
            learned_temperature=config.learned_temperature,
            matryoshka=config.matryoshka,
            hard_weight=config.hard_weight,
            in_batch_weight=config.in_batch_weight,
            gather=config.gather,
            mask=config.mask,
            score_margin=config.score_margin,
            bidirectional=config.bidirectional,
            terms=dict(config.terms),
            layer_exits=config.layer_exits,
            candidates=config.candidates,
            rescored_scale=config.rescored_scale,
            masked_tokens=None if masked is None else MaskedSpec(masked.weight, masked.share, masked.token),
        )

    @property
    def is_masked_alone(self) -> bool:
        """Whether nothing but masked tokens teaches."""
        return self.masked_tokens is not None and not (self.hard_weight or self.in_batch_weight or self.terms)

    @property
    def start_temperature(self) -> float | None:
        """Where a learned temperature starts; None where none is learned."""
        return self.temperature if self.learned_temperature else None


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW, applied to every parameter alike (the published script excludes none from decay)."""

    betas: tuple[float, float]
    epsilon: float
    weight_decay: float
    clip: float
    """Largest global gradient norm."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a stage: warm-up, then a cosine (`engine/schedule.py`)."""

    peak: float
    floor: float
    warmup_steps: int
    kind: Literal["cosine", "published"] = "cosine"


@dataclass(frozen=True)
class ValidationSpec:
    """Validation losses of a stage."""

    every: int
    """Steps between them."""
    batches: int
    """Most global batches of each source in one."""
    widths: Literal["trained", "full"] = "trained"
    """Whether all trained widths count, or the full one alone."""


@dataclass(frozen=True)
class LateModelsSpec:
    """Models of late steps that are kept to be merged."""

    count: int
    every: int
    """Steps between them."""
    at: Literal["from_end", "multiples"] = "from_end"
    """Whether those are counted back from the last step, or from the first."""


@dataclass(frozen=True)
class StageSpec:
    """How a stage learns; what it reads is its `FeedSpec`."""

    dtype: str
    """Compute precision that the recipe asks for."""
    instructions: bool
    objective: ObjectiveSpec
    optimizer: OptimizerSettings
    schedule: Schedule
    adaptation: Adaptation
    validation: ValidationSpec | None
    """None computes none."""
    late_models: LateModelsSpec
    seed: int

    @classmethod
    def of(cls, config: "StageConfig") -> "StageSpec":
        """Take a recipe's training stage."""
        return cls(
            dtype=config.dtype,
            instructions=config.instructions,
            objective=ObjectiveSpec.of(config.objective),
            optimizer=OptimizerSettings(config.betas, config.epsilon, config.weight_decay, config.clip),
            schedule=Schedule(
                peak=config.learning_rate,
                floor=min(config.min_learning_rate, config.learning_rate),
                warmup_steps=config.warmup_steps,
                kind=config.schedule,
            ),
            adaptation=Adaptation(config.embedding_rank, _lora(config.lora), config.seed, config.embedding_ranks),
            validation=(
                None
                if config.validation_steps is None
                else ValidationSpec(config.validation_steps, config.validation_batches, config.validation_widths)
            ),
            late_models=LateModelsSpec(
                config.late_checkpoints, config.late_checkpoint_steps, config.late_checkpoints_at
            ),
            seed=config.seed,
        )


def _lora(config: "LoraConfig | None") -> Lora | None:
    return None if config is None else Lora(config.rank, config.alpha, config.dropout, config.modules)
