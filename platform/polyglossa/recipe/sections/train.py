"""Recipe section `training`: what a training stage reads and how it learns. Science only: placement is elsewhere."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Discriminator, Field, Tag, field_validator, model_validator

from polyglossa.recipe.outside import OutsideTeacher, is_own
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.recipe.strict import Strict, is_absent, is_off, is_still

TEACHER_PRESETS: Mapping[str, Mapping[str, float]] = {
    "similarity": {"similarity_kl": 5.0},
    "compatible": {"similarity_kl": 5.0, "cosine": 2.0, "cross_space": 2.0},
}
"""Weights of further terms under one name."""

_SCORED_TERMS, _RESCORED_TERMS = ("scores", "angle"), ("margin_mse", "candidate_kl")
_COMPRESSED_TERMS = ("int8", "binary")


class MaskedTokensConfig(Strict):
    """Masked tokens that are filled in: the warm-up of a causal backbone that is made to read both ways (LLM2Vec).

    A stage of its own, with `hard_weight` and `in_batch_weight` 0, or beside the contrastive terms, where it costs a
    second forward pass. For members whose backbone has `attention: bidirectional`.
    """

    weight: float = Field(1.0, gt=0)
    """Weight of the cross-entropy, averaged over all masked tokens of the global batch."""
    share: float = Field(0.2, gt=0, lt=1)
    """Share of the tokens that are masked."""
    token: str | None = None
    """What stands for a masked token, one of the vocabulary that texts hardly hold (`_` in LLM2Vec); None takes the
    tokenizer's mask token, which causal models have none of."""


class ObjectiveConfig(Strict):
    """The contrastive objective of F2LLM-v2 and its choices."""

    temperature: float = Field(0.05, gt=0)
    """Softmax temperature of every term; where it is learned, the one it starts from."""
    learned_temperature: bool = False
    """Learn the temperature with the weights, between 0.01 and 1; it is only a training aid and is not exported."""
    hard_weight: float = Field(1.0, ge=0)
    """Weight of the term over a query's own negatives."""
    in_batch_weight: float = Field(1.0, ge=0)
    """Weight of the term over the positives of the global batch (retrieval and bitext only)."""
    candidates: tuple[Literal["positives", "negatives", "queries", "documents"], ...] = Field(
        ("positives",), exclude_if=is_still(("positives",))
    )
    """What a query's positive stands against in the in-batch term: the other rows' positives (published, always among
    them), and beside them the other rows' hard negatives, the other queries, and the positive against the other
    positives. `objectives/candidates.py` says what each costs."""
    matryoshka: Literal["none", "published", "uniform", "learned"] = "none"
    """Full width only; powers of two, the n-th largest weighing 1/(n·√(D/d)); the same widths, equal weights; or
    weights that are learned beside the model, from the published ones on, and not exported."""
    gather: Literal["with_grad", "query_only"] = "with_grad"
    """Which side the in-batch term trains: both, or only the queries as the published script does."""
    bidirectional: bool = False
    """Add the positive → query direction to the in-batch term."""
    mask: Literal["none", "known", "known+score"] = "known"
    """In-batch candidates left out: none (published), known positives (same group, same text), or also those that the
    model scores above the positive plus `score_margin`."""
    score_margin: float = Field(0.1, ge=0)
    """Cosine margin of the `known+score` mask."""
    distillation_weight: float = Field(1.0, ge=0)
    """Weight of the distillation term, where the member has a teacher."""
    # Called `teacher_terms` before terms without a teacher: that name is still read, and artifacts' addresses keep it.
    terms: dict[str, float] = Field(
        {}, validation_alias=AliasChoices("terms", "teacher_terms"), serialization_alias="teacher_terms"
    )
    """Weights of further terms by name (`objectives/terms.py`): scores, angle (need `scores`), spread_out, int8,
    binary, margin_mse, candidate_kl (need `mine.rescore`), or your own; where the member has a teacher also cosine,
    similarity_kl, similarity_kl_by_width, cross_space. Or a preset: `similarity` (rank as the teacher does) or
    `compatible` (one index: the teacher's documents, the student's queries)."""
    rescored_scale: float = Field(1.0, gt=0, exclude_if=is_still(1.0))
    """What scores of `mine.rescore` are multiplied by in `margin_mse` and `candidate_kl`, whose other side are cosines:
    1 for scores of 0 … 1; for raw logits the temperature makes `candidate_kl` read their own softmax."""
    masked_tokens: MaskedTokensConfig | None = Field(None, exclude_if=is_absent)
    """Also mask tokens and fill them in; None masks none."""
    layer_exits: bool = False
    """Train the states after 1, 2, 4, 8, 16 … layers too, with equal weights: any of these depths is then a model."""

    @model_validator(mode="after")
    def _one_temperature(self) -> Self:
        if self.learned_temperature and self.layer_exits:
            raise ValueError("learned_temperature: not with layer_exits; switch one of them off")
        if self.masked_tokens is not None and self.layer_exits:
            raise ValueError("masked_tokens: not with layer_exits; warm the model up in a stage of its own")
        if self.matryoshka == "learned" and self.layer_exits:
            raise ValueError("matryoshka: learned: not with layer_exits; take `published` or `uniform` weights")
        return self

    @model_validator(mode="after")
    def _candidates_hold(self) -> Self:
        if "positives" not in self.candidates or len(set(self.candidates)) < len(self.candidates):
            raise ValueError(f"candidates: got {', '.join(self.candidates)}; name `positives`, and each kind once")
        if "documents" in self.candidates and self.gather == "query_only":
            raise ValueError(
                "candidates: documents: compares documents alone, which `gather: query_only` does not train"
            )
        if len(self.candidates) > 1 and not self.in_batch_weight:
            raise ValueError("candidates: belong to the in-batch term, and in_batch_weight is 0")
        if not (self.hard_weight or self.in_batch_weight):
            for name in _COMPRESSED_TERMS:
                if name in self.terms:
                    raise ValueError(f"objective.terms: `{name}` compresses the contrastive loss, whose weights are 0")
        return self

    @field_validator("terms", mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in TEACHER_PRESETS:
            raise ValueError(f"{given!r} is not a preset; presets are {', '.join(TEACHER_PRESETS)}")
        return TEACHER_PRESETS[given]


def _kind_of_guide(value: Any) -> str:
    return "name" if isinstance(value, str) else "model"


class GuideConfig(Strict):
    """A second encoder that tells which in-batch candidates may be positives (GISTEmbed, arXiv 2402.16829).

    What it scores above a row's positive is left out. It embeds the stage's texts once, as a teacher does; validation
    losses do without it.
    """

    model: Annotated[
        Annotated[str, Tag("name")] | Annotated[OutsideTeacher, Tag("model")], Discriminator(_kind_of_guide)
    ]
    """`<member>@<stage>` of this recipe, or a Hugging Face or sentence-transformers name or directory, or a section as
    for a teacher: `{model: NAME, query_prompt: …}`, `{endpoint: URL, model: NAME}`."""
    margin: float = Field(0.0, ge=-1, le=1)
    """Added to its cosine of query and positive before candidates are compared with it; below 0 leaves out more."""
    most: float = Field(0.5, gt=0, le=1)
    """Largest share of the other rows' positives that it may leave out for a row; a row where it wants more is one that
    it cannot read, and is not guided. `unguided` among the loss's terms is the share of such rows."""
    sources: tuple[str, ...] | None = None
    """Sources whose rows it guides, by name or glob: those in languages that it reads. None means all."""
    least: float = Field(0.8, ge=0.5, le=1)
    """Share of the other documents of a bundle that it must score below a row's positive, on average over each source's
    first bundle; chance is 0.5. Where a source falls short, it does not know the language, and training is refused."""

    @property
    def outside(self) -> OutsideTeacher | None:
        """The guide, where it is from outside the recipe."""
        if isinstance(self.model, OutsideTeacher):
            return self.model
        return None if is_own(self.model) else OutsideTeacher(model=self.model)


class LoraConfig(Strict):
    """Train low-rank additions to the linear layers instead of the weights; merged into them at export."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    """The additions are scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Names of the linear layers that get additions."""


class StageConfig(Strict):
    """One training stage."""

    sources: tuple[str, ...] | None = None
    """Sources read, by name or glob (`webfaq_*`); None means all."""
    instructions: bool = False
    """Whether queries (and 30 % of documents in symmetric tasks) carry their task's instruction."""
    prompts: Literal["model"] | None = Field(None, exclude_if=is_absent)
    """`model` puts the `query` and `document` prompts that the member's model pins before its texts, as its users do;
    None puts none. Not with `instructions`."""
    hard_negatives: bool = False
    """Whether mined negatives are read; False trains in-batch only."""
    scores: bool = Field(False, exclude_if=is_off)
    """Whether batches carry the scores of their pairs (`columns.score`), for terms that read them; sources of task
    `sts` are then trained on without negatives too."""
    negatives: int = Field(7, ge=0)
    """Negatives used per query and step, chosen among the mined ones (classification uses at most what a row has)."""
    task_negatives: dict[str, int] = {}
    """Negatives of single tasks, where they differ (published: 9 for clustering, 1 for classification)."""
    global_batch: int = Field(512, ge=2)
    """Examples per step over all workers."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the data; `steps` wins where it is given."""
    steps: int | None = Field(None, ge=1)
    """Number of optimizer steps; None derives it from `epochs`."""
    source_weights: dict[str, float] | None = None
    """Relative share of steps per source; None is proportional to rows."""
    source_order: Literal["even", "drawn"] = Field("even", exclude_if=is_still("even"))
    """How the batches of an epoch follow each other: each source's spread evenly over it, or drawn source by source
    with weights equal to batches, each to exhaustion (published; `random.Random(epoch)` over names in order)."""
    max_examples: int | None = Field(None, ge=1)
    """Most examples of each source, chosen by hash (published for stage 2: 80,000); None means all."""
    max_tokens: int = Field(1024, ge=8)
    """Longest text (tokens, EOS included)."""
    learning_rate: float = Field(1e-5, gt=0)
    min_learning_rate: float = Field(1e-7, ge=0)
    """Where the cosine ends; under `schedule: published`, the least rate from the second step on."""
    warmup_steps: int = Field(500, ge=0)
    """Steps of the linear rise, whatever the number of workers."""
    schedule: Literal["cosine", "published"] = Field("cosine", exclude_if=is_still("cosine"))
    """`cosine` learns from the first step and falls to `min_learning_rate` at the last; `published` (F2LLM-v2) is zero
    at the first step, then the larger of a cosine to zero and `min_learning_rate`."""
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    dtype: Literal["float32", "bfloat16", "float64"] = "bfloat16"
    """Compute precision: at least this one (bfloat16 is computed where the device gains by it, float32 elsewhere);
    master weights and gradient sums are at least float32."""
    chunk_tokens: int = Field(2048, ge=16)
    """Token budget of a chunk: texts of like length that are dealt to one worker together. Part of the layout."""
    objective: ObjectiveConfig = ObjectiveConfig()
    guide: GuideConfig | None = Field(None, exclude_if=is_absent)
    """Second encoder whose similarities leave in-batch candidates out; None has none."""
    embedding_rank: int | None = Field(None, ge=1)
    """Train the embedding table as a product of two factors of this rank, at a random sub-rank each step; folded into
    a plain table at export. None trains the table itself."""
    embedding_ranks: Literal["any", "published"] = Field("any", exclude_if=is_still("any"))
    """Sub-ranks of that product: any from 64 on, or the powers of two from 64 on and the rank itself (ML-Embed), each
    drawn in proportion to its size; and where the factors start: singular values split evenly, or all on the tokens'
    side."""
    lora: LoraConfig | None = None
    """None trains every weight."""
    validation_steps: int | None = Field(None, ge=1)
    """Steps between validation losses; None computes none."""
    validation_batches: int = Field(4, ge=1)
    """Most global batches of each source in one validation."""
    validation_widths: Literal["trained", "full"] = Field("trained", exclude_if=is_still("trained"))
    """Whether validation losses are those that training adds up (teachers apart), or of the full width alone
    (published)."""
    evaluate_every: int | None = Field(None, ge=1, exclude_if=is_absent)
    """Steps between whole evaluations of the model as it then is; the last model gets one too. They go on beside the
    training, on nodes that the profile's `evaluate` has by labels of its own or on what training leaves free, and wait
    for its end where there is neither. None makes none."""
    evaluate_tasks: tuple[str, ...] | None = Field(None, min_length=1, exclude_if=is_absent)
    """Held-out sets and tasks of `evaluate`, by name, that those evaluations consist of; None means all held-out sets
    and all tasks from files."""
    late_checkpoints: int = Field(0, ge=0)
    """Late checkpoints kept as models, to be merged (published: 5); 0 keeps none."""
    late_checkpoint_steps: int = Field(500, ge=1)
    """Steps between late checkpoints."""
    late_checkpoints_at: Literal["from_end", "multiples"] = Field("from_end", exclude_if=is_still("from_end"))
    """Whether those steps are counted back from the last one, or late checkpoints fall on multiples of them
    (published); the last step's model is kept anyway."""
    seed: int = 0
    """Seed of order, negative choice and dropout."""

    @model_validator(mode="after")
    def _scores_are_read(self) -> Self:
        for name in _SCORED_TERMS:
            if name in self.objective.terms and not self.scores:
                raise ValueError(
                    f"objective.terms: `{name}` ranks pairs by their own scores; set `scores: true` beside it"
                )
        return self

    @model_validator(mode="after")
    def _negatives_are_read(self) -> Self:
        for name in _RESCORED_TERMS:
            if name in self.objective.terms and not self.hard_negatives:
                raise ValueError(
                    f"objective.terms: `{name}` reads a row's own negatives; set `hard_negatives: true` beside it"
                )
        if "negatives" in self.objective.candidates and not self.hard_negatives:
            raise ValueError("objective.candidates: negatives: none are read; set `hard_negatives: true` beside it")
        if self.objective.masked_tokens is not None and self.embedding_rank is not None:
            raise ValueError("objective.masked_tokens: reads the embedding table, which `embedding_rank` splits in two")
        if self.guide is not None and not self.objective.in_batch_weight:
            raise ValueError("guide: leaves in-batch candidates out, and objective.in_batch_weight is 0")
        return self

    @property
    def rescored(self) -> bool:
        """Whether a term reads the scores of `mine.rescore`."""
        return any(name in self.objective.terms for name in _RESCORED_TERMS)


class EvaluationBeside(Strict):
    """Evaluations that go on beside a training."""

    every: int = Field(ge=1)
    """Steps between them."""
    judged_by: EvaluateConfig
    """What they consist of."""

    @classmethod
    def of(cls, stage: StageConfig, evaluate: EvaluateConfig) -> Self | None:
        """Settle what a stage asks for; None where it asks for nothing."""
        if stage.evaluate_every is None:
            return None
        files = (*evaluate.heldout, *(task.name for task in evaluate.local))
        return cls(every=stage.evaluate_every, judged_by=evaluate.restricted_to(stage.evaluate_tasks or files))


class TrainConfig(Strict):
    """What shapes one trained model: a stage with its member's own settings, and how much its teacher weighs."""

    stage: StageConfig
    distillation_weight: float = Field(0.0, ge=0)
    """Weight of the distillation term; 0 where there is no teacher."""
    teacher_shares: tuple[float, ...] = ()
    """Weights of several teachers, in order; empty weighs them alike."""
    live: bool = False
    """Whether teachers run beside the student instead of being read from stores."""
    projection: bool = False
    """Whether teachers narrower than the student, and those from outside of any other width, are reached through a
    learned map."""
    evaluation: EvaluationBeside | None = Field(None, exclude_if=is_absent)
    """Evaluations beside the training; they change nothing of the model."""

    @classmethod
    def of(
        cls,
        stage: StageConfig,
        *,
        distil: bool,
        teacher_shares: tuple[float, ...] = (),
        live: bool = False,
        projection: bool = False,
        evaluation: EvaluationBeside | None = None,
    ) -> Self:
        """Settle a stage for a member that has a teacher, or has none."""
        settled = StageConfig.model_validate({**stage.model_dump(), "evaluate_every": None, "evaluate_tasks": None})
        if not distil:
            return cls(stage=settled, evaluation=evaluation)
        return cls(
            stage=settled,
            distillation_weight=stage.objective.distillation_weight,
            teacher_shares=teacher_shares,
            live=live,
            projection=projection,
            evaluation=evaluation,
        )

    def unevaluated(self) -> Self:
        """The same training without evaluations beside it."""
        return type(self).model_validate({**self.model_dump(), "evaluation": None})
