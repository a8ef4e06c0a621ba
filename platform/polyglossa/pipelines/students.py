"""One student from start to figure in one process, no Ray: cut, trained for a few steps, judged on held-out retrieval.

What a recipe does over stages, in miniature: for ranking candidate shapes (`polyglossa prune search`) and for ablations
of many short trainings. The cut, the batches, the loss and the optimizer are the stages' own.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from polyglossa.artifact import open_artifact
from polyglossa.engine.ahead import BatchesAhead
from polyglossa.engine.backend_plain import OptimizerSettings, PlainBackend
from polyglossa.engine.bundles import TeacherStore
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.loop import StepRecord, run_loop
from polyglossa.engine.objective import build_objective
from polyglossa.engine.schedule import learning_rate
from polyglossa.engine.spec import open_plan
from polyglossa.engine.step import Budget
from polyglossa.engine.stream import FeedSpec, local_batches
from polyglossa.evaluate.heldout import HeldoutSet, read_heldout
from polyglossa.evaluate.retrieval import heldout_score, read_search
from polyglossa.folders import local_folder
from polyglossa.model.directory import build_model
from polyglossa.model.encoder import Encoder
from polyglossa.model.precision import DeviceFacts, Precision, device_facts
from polyglossa.prune.calibration import calibration_texts
from polyglossa.prune.importance import measure
from polyglossa.prune.student import cut_student
from polyglossa.recipe.evaluate import RetrievalTask
from polyglossa.recipe.prune import PruneStage
from polyglossa.recipe.train import StageConfig

_RESIDENT_TOKENS = 16_384


@dataclass(frozen=True)
class Ground:
    """What students of one family share: addresses of artifacts, and how they are judged."""

    corpus_uri: str
    parent_uri: str
    """The trained model that students are cut out of (an artifact with `model/`)."""
    calibration_uri: str
    """The pack that importance is measured on."""
    pack_uri: str
    """The pack that students train on."""
    teacher_uri: str | None
    """Teacher store of that pack."""
    heldout: tuple[str, ...]
    """Held-out sets of the corpus."""
    searches: tuple[RetrievalTask, ...] = ()
    """Retrieval tasks from files, paths absolute."""
    queries: int | None = None
    """Most queries of a held-out set; None means all."""
    judges_start: bool = True
    """Whether students are judged before their training too."""
    beside: tuple[DeviceFacts, ...] = ()
    """Devices that other students are tried on: all are computed in one precision."""


@dataclass(frozen=True)
class Student:
    """One trial. Plain values: it travels to workers."""

    prune: PruneStage
    stage: StageConfig
    distillation_weight: float = 0.0
    """Weight of the MSE term; 0 without further teacher terms in the stage leaves the teacher out."""
    scratch: bool = False
    """Start from random weights of the same shape instead of the parent's."""


@dataclass(frozen=True)
class Outcome:
    """What a trial cost and reached."""

    scores: Mapping[str, float]
    """Held-out retrieval by set."""
    start_scores: Mapping[str, float]
    """The same before training; empty where the ground does not ask."""
    parameters: int
    steps: int
    tokens: int
    seconds: float
    loss: float
    terms: Mapping[str, float]


def try_student(student: Student, ground: Ground, threads: int = 1) -> Outcome:
    """Cut, train and judge one student.

    Args:
        student: what is tried.
        ground: what it is cut out of, trained on and judged by.
        threads: torch threads.
    """
    torch.set_num_threads(threads)
    encoder = start(student, ground)
    instructed = student.stage.instructions
    start_scores = judge(encoder, ground, instructed=instructed) if ground.judges_start else {}
    began = time.monotonic()
    records = train(encoder, student, ground)
    last = records[-max(1, len(records) // 10) :]
    return Outcome(
        scores=judge(encoder, ground, instructed=instructed),
        start_scores=start_scores,
        parameters=sum(parameter.numel() for parameter in encoder.backbone.parameters()),
        steps=len(records),
        tokens=sum(record.tokens for record in records),
        seconds=round(time.monotonic() - began, 1),
        loss=sum(record.loss for record in last) / len(last),
        terms=dict(last[-1].terms),
    )


def start(student: Student, ground: Ground) -> Encoder:
    """Return the untrained student: cut out of its parent, or with random weights of that shape."""
    config = student.prune
    with local_folder(open_artifact(ground.parent_uri).at("model")) as folder:
        parent = Encoder.load(folder)
    texts = calibration_texts(open_artifact(ground.calibration_uri), config.calibration_rows, config.seed)
    cut = cut_student(parent, measure(parent.backbone, texts), config, ())
    backbone = cut.backbone
    if student.scratch:
        shape = backbone.config
        backbone = build_model(
            hidden=shape.hidden_size,
            mlp=shape.intermediate_size,
            layers=shape.num_hidden_layers,
            heads=shape.num_attention_heads,
            kv_heads=shape.num_key_value_heads,
            head_dim=shape.head_dim,
            vocabulary=shape.vocab_size,
            max_tokens=shape.max_position_embeddings,
            eos=shape.eos_token_id,
            padding=shape.pad_token_id,
            seed=student.stage.seed,
        )
    return Encoder(backbone, cut.tokenizer, max_tokens=parent.max_tokens)


def train(encoder: Encoder, student: Student, ground: Ground) -> Sequence[StepRecord]:
    """Train a student in place; returns every step's figures."""
    stage = student.stage
    taught = bool(student.distillation_weight or stage.objective.teacher_terms) and ground.teacher_uri is not None
    plain = stage.model_dump(mode="json")
    stores = (TeacherStore(ground.teacher_uri, encoder.width),) if taught and ground.teacher_uri else ()
    spec = FeedSpec.of_stage(plain, ground.pack_uri, stores)
    total = open_plan(spec).total_steps
    settings = OptimizerSettings(
        betas=stage.betas, epsilon=stage.epsilon, weight_decay=stage.weight_decay, clip=stage.clip
    )
    dtype = Precision.decide(stage.dtype, [device_facts("cpu"), *ground.beside]).dtype
    keep = _Keep()
    attention = encoder.backbone.config._attn_implementation
    batches = BatchesAhead(local_batches(spec))
    try:
        run_loop(
            PlainBackend(Embedder(encoder.backbone, dtype=dtype), settings=settings),
            batches,
            build_objective(
                plain["objective"],
                width=encoder.width,
                distillation_weight=student.distillation_weight if taught else 0,
            ),
            rate=lambda step: learning_rate(
                step,
                peak=stage.learning_rate,
                floor=min(stage.min_learning_rate, stage.learning_rate),
                warmup_steps=stage.warmup_steps,
                total_steps=total,
            ),
            budget=Budget(stage.chunk_tokens, _RESIDENT_TOKENS),
            callbacks=[keep],
        )
    finally:
        batches.close()
        encoder.backbone.config._attn_implementation = attention
        encoder.backbone.eval()
    return keep.records


def judge(encoder: Encoder, ground: Ground, *, instructed: bool) -> dict[str, float]:
    """Score a model on the ground's held-out sets."""
    return {
        name: fmean(heldout_score(one, encoder, instructed=instructed, limit=limit) for one in sets)
        for name, sets in heldout_sets(ground).items()
        for limit in [ground.queries and max(1, ground.queries // len(sets))]
    }


def judge_model(model_uri: str, ground: Ground, *, instructed: bool) -> dict[str, float]:
    """Score a model directory on the ground's held-out sets."""
    with local_folder(model_uri) as folder:
        return judge(Encoder.load(folder), ground, instructed=instructed)


def heldout_sets(ground: Ground) -> dict[str, list[HeldoutSet]]:
    """Read what the ground judges by: one set a name, or one for each subset of a search."""
    corpus = open_artifact(ground.corpus_uri)
    sets = {name: [read_heldout(corpus, name)] for name in ground.heldout}
    return sets | {task.name: read_search(task) for task in ground.searches}


class _Keep:
    """Keeps every step's figures. A callback of the loop."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    def before_update(self, *_: object) -> None:
        """Let the update happen."""

    def after_step(self, record: StepRecord) -> None:
        """Keep the record."""
        self.records.append(record)
