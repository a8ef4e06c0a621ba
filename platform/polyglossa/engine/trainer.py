"""One rank's part of one training run, from model directory to model directory. No Ray: batches come from a callable.

A run resumes by itself: it looks for the last committed checkpoint and asks for the batches from that step on.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from polyglossa.data.batch import RankBatch
from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.data.stream import validation_batches
from polyglossa.engine.backends.backend import TrainingBackend
from polyglossa.engine.backends.plain import PlainBackend
from polyglossa.engine.callbacks import Checkpoints, Guard, MetricsLog, Progress, Validation
from polyglossa.engine.checkpoints import checkpoint
from polyglossa.engine.checkpoints.checkpoint_index import latest, step_folder
from polyglossa.engine.checkpoints.export import LateModels, export
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.loop import Callback, run_loop
from polyglossa.engine.objective import build_objective, build_validation
from polyglossa.engine.online_evaluation import awaits_export
from polyglossa.engine.online_teacher import OnlineTeachers
from polyglossa.engine.precision import settle_precision
from polyglossa.engine.schedule import SCHEDULES
from polyglossa.engine.stage_spec import ObjectiveSpec
from polyglossa.engine.step import Budget
from polyglossa.engine.trackers import open_trackers
from polyglossa.engine.train_run import Compute, TrainRun
from polyglossa.errors import DataError
from polyglossa.model.attention.kernels import chosen_kernels
from polyglossa.model.attention.products import attention_slots
from polyglossa.model.directory import load_model
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer_folder import load_directory_tokenizer
from polyglossa.model.variants.adapt import adapt, choose_table_rank
from polyglossa.model.variants.compiled import compile_layers
from polyglossa.model.variants.exits import exit_layers
from polyglossa.model.variants.masked_tokens import MaskedTokens, check_masked
from polyglossa.objectives.matryoshka import weights, widths
from polyglossa.recipe.placement import TrackingConfig
from polyglossa.runtime.collectives import barrier, rank, world_size
from polyglossa.runtime.precision import apply_precision, device_facts
from polyglossa.storage import local_folder


def train(
    run: TrainRun,
    compute: Compute,
    open_batches: Callable[[int], PrefetchedBatches],
    tell: Callable[[int, str], None],
    warn: Callable[[str], None],
    committed: Callable[[int], None] = lambda step: None,
    leaving: Callable[[int], bool] = lambda done: False,
    watchers: Callable[[TrainingBackend], Sequence[Callback]] = lambda backend: (),
    note: Callable[[str], None] = lambda text: None,
    report: Callable[[Mapping[str, Any], str], None] = lambda figures, uri: None,
) -> None:
    """Train one run on this rank, resuming where its last checkpoint is; rank 0 writes the results.

    Args:
        run: what is trained.
        compute: how.
        open_batches: first step → this rank's batches from there to the end.
        tell: gets (steps done, short text) after each step.
        warn: gets what a person should see at once.
        committed: gets the steps done of each checkpoint once it is whole, on rank 0.
        leaving: steps done → whether a node is about to leave, the same on every rank: a checkpoint is due.
        watchers: backend → further callbacks; they come before a checkpoint is saved.
        note: gets what a person may want to know, as what is computed in.
        report: gets (last step's figures, where the weights are) with each checkpoint and at the end, on every rank.

    Raises:
        DivergedError: the run cannot go on.
    """
    if run.finished:
        return
    start = latest(run.checkpoint_uri)
    precision = settle_precision(run.stage.dtype, device_facts(compute.device), run.checkpoint_uri, compute.beside)
    apply_precision(precision.dtype)
    if precision.notable:
        note(str(precision))
    batches = open_batches(start)
    writer = checkpoint.Writer(
        run.checkpoint_uri,
        keep=compute.keep_checkpoints,
        awaited=partial(awaits_export, run),
        committed=committed,
    )
    backend = None
    tracking = open_trackers(compute.tracking if rank() == 0 else TrackingConfig(), run.name)
    try:
        with local_folder(run.model_uri) as path:
            backend = _backend(path, run, compute, precision.dtype)
        if start:
            checkpoint.load(run.checkpoint_uri, start, backend)
        if rank() == 0:
            checkpoint.drop_metrics(run.checkpoint_uri, start)
        kernels = chosen_kernels(
            backend.embedder.backbone, device=torch.device(compute.device).type, dtype=precision.dtype
        )
        log = MetricsLog(run.checkpoint_uri, writes=rank() == 0, dtype=precision.dtype)
        due = partial(run.checkpointed_after, every=compute.checkpoint_steps)
        saves = Checkpoints(writer, backend, log, due=due, leaving=leaving, report=partial(_report, report, run, log))
        late = LateModels(run, backend)
        tell(start, "")
        began = time.monotonic()
        run_loop(
            backend,
            _place_batches(batches, run, compute, backend, precision.dtype),
            build_objective(
                run.stage.objective,
                width=run.width,
                distillation_weight=run.distillation_weight,
                teachers=run.teacher_terms,
                guide=run.guide,
            ),
            rate=_rate(run),
            budget=_budget(run, compute),
            callbacks=[
                Guard(warn),
                log,
                tracking,
                *_validation(run, compute, backend, log, writer),
                late,
                *watchers(backend),
                saves,
                Progress(tell),
            ],
            slots=attention_slots if any(one["kernel"] == "products" for one in kernels) else sum,
        )
        log.flush()
        writer.wait()
        seconds = round(time.monotonic() - began, 3)
        export(
            run,
            backend,
            {"seconds": seconds, "resumed_at": start, "precision": precision.plain(), "attention": kernels},
        )
        report(log.last, run.output_uri)
    finally:
        batches.close()
        writer.close()
        tracking.close()
        if backend is not None:
            backend.close()
    barrier()


def _report(report: Callable[[Mapping[str, Any], str], None], run: TrainRun, log: MetricsLog, done: int) -> None:
    report(log.last, step_folder(run.checkpoint_uri, done))


def _backend(path: str, run: TrainRun, compute: Compute, dtype: str) -> TrainingBackend:
    stage, objective = run.stage, run.stage.objective
    model = load_model(path)
    backbone = adapt(model.backbone, stage.adaptation).to(compute.device)
    if compute.gradient_checkpointing:
        backbone.gradient_checkpointing_enable({"use_reentrant": False})
    exits = exit_layers(backbone.config.num_hidden_layers)[:-1] if objective.layer_exits else ()
    embedder = Embedder(
        model,
        dtype=dtype,
        exits=exits,
        projections=run.projections,
        width_weights=weights(widths(run.width), "learned") if objective.matryoshka == "learned" else (),
        masked=_masked(path, model, objective),
        temperature=objective.start_temperature,
        seed=stage.seed,
    ).to(compute.device)
    if compute.compile:
        compile_layers(backbone)
    if compute.zero is None or dtype == "float64":
        return PlainBackend(embedder, settings=stage.optimizer)
    os.environ["DS_ACCELERATOR"] = torch.device(compute.device).type  # read when deepspeed is imported
    from polyglossa.engine.backends.deepspeed import DeepSpeedBackend

    return DeepSpeedBackend(embedder, settings=stage.optimizer, zero=compute.zero)


def _masked(path: str, model: TextModel, objective: ObjectiveSpec) -> MaskedTokens | None:
    """Look up the token that stands for masked ones.

    Raises:
        DataError: there is none, or the model cannot be warmed up so.
    """
    spec = objective.masked_tokens
    if spec is None:
        return None
    check_masked(model)
    tokenizer = load_directory_tokenizer(path)
    token = tokenizer.mask_token if spec.token is None else spec.token
    if token is None or token not in tokenizer.get_vocab():
        raise DataError(
            f"masked_tokens.token: {token!r} is no token of the model; name one of its vocabulary that texts hardly "
            "hold, as '_'."
        )
    return MaskedTokens(tokenizer.get_vocab()[token], spec.share, objective.is_masked_alone)


def _rate(run: TrainRun) -> Callable[[int], float]:
    return partial(
        SCHEDULES[run.stage.schedule.kind],
        peak=run.stage.schedule.peak,
        floor=run.stage.schedule.floor,
        warmup_steps=run.stage.schedule.warmup_steps,
        total_steps=run.total_steps,
    )


def _place_batches(
    batches: Iterable[RankBatch], run: TrainRun, compute: Compute, backend: TrainingBackend, dtype: str
) -> Iterator[RankBatch]:
    teachers = _live_teachers(run, compute, dtype)
    for batch in batches:
        choose_table_rank(backend.embedder.backbone, run.stage.adaptation, batch.step)
        placed = batch.to(compute.device)
        yield placed if teachers is None else teachers.teach(placed)


def _live_teachers(run: TrainRun, compute: Compute, dtype: str) -> OnlineTeachers | None:
    if not run.live:
        return None
    uris, widths = [teacher.uri for teacher in run.teachers], [term.width for term in run.teacher_terms]
    return OnlineTeachers(uris, widths, dtype=dtype, device=compute.device, budget=_budget(run, compute))


def _budget(run: TrainRun, compute: Compute) -> Budget:
    # Dropout and masked tokens are drawn pass by pass, so passes must not depend on the number of ranks with either.
    draws = run.stage.adaptation.drops or run.stage.objective.masked_tokens is not None
    pass_tokens = 1 if draws else compute.pass_tokens or run.feed.chunk_tokens
    return Budget(pass_tokens=pass_tokens, resident_tokens=compute.resident_tokens)


def _validation(
    run: TrainRun, compute: Compute, backend: TrainingBackend, log: MetricsLog, writer: checkpoint.Writer
) -> list[Callback]:
    validation = run.stage.validation
    if validation is None:
        return []
    spec = replace(run.feed, teachers=())

    def batches() -> Iterator[RankBatch]:
        choose_table_rank(backend.embedder.backbone, run.stage.adaptation, None)
        found = validation_batches(spec, rank=rank(), world=world_size(), limit=validation.batches)
        return (batch.to(compute.device) for batch in found)

    objective = build_validation(run.stage.objective, width=run.width, full=validation.widths == "full")
    return [
        Validation(
            backend,
            objective,
            batches,
            log,
            budget=_budget(run, compute),
            every=validation.every,
            validated=writer.note_validation,
        )
    ]
