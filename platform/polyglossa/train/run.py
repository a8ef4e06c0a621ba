"""Stage `train`: hand runs to the engine. Inputs `model`, `pack`; `teacher` to distil, `corpus` to evaluate meanwhile.

Checkpoints lie at `<root>/checkpoints/<stage>-<hash>/`, outside the draft, so an interrupted run goes on where it
stopped when the same artifact is asked for again. Evaluations beside a training become `evaluations.jsonl`, one JSON
object each: `step` (updates made), `mean`, `tasks`, `failed`, or the `reason` why there is nothing; `trained`, the
steps that training had done when it began and when it ended; `seconds`.
"""

import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from polyglossa.artifact import Artifact, ArtifactKey, Draft, clear, open_storage, read_json
from polyglossa.data.feed_spec import FeedSpec, open_plan
from polyglossa.engine.checkpoints.export import SUMMARY
from polyglossa.engine.online_evaluation import Evaluator, read_evaluations
from polyglossa.engine.train_run import TrainRun, width_of
from polyglossa.errors import DataError
from polyglossa.recipe.placement import StagePlacement, TrainPlacement
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.storage import absolute
from polyglossa.train.launch import fit
from polyglossa.train.teachers import check_live, check_store

STAGE = "train"
REVISION = 2

Job = tuple[TrainConfig, Mapping[str, Artifact], Draft]
ModelJudge = Callable[[TrainConfig, Mapping[str, Artifact], str, str, str], Mapping[str, Any]]
"""(config, inputs, revision, model directory, folder for its own files) → scores, as `engine.evaluations.Judge`."""


def run(config: TrainConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: TrainPlacement) -> None:
    """Train one model."""
    run_many([(config, inputs, draft)], placement)


def run_many(
    jobs: Sequence[Job],
    placement: TrainPlacement,
    judge: ModelJudge | None = None,
    beside: StagePlacement | None = None,
) -> None:
    """Train models that do not need each other, one after another in one worker group.

    Args:
        jobs: what is trained.
        placement: of the training.
        judge: evaluates models beside the training; None evaluates none.
        beside: what the judge takes.

    Raises:
        DataError: a source of the recipe is not in the pack, or nothing can be trained on.
        TrainingError: a run diverged or its workers kept failing.
    """
    runs = [_plan(job, evaluated=judge is not None) for job in jobs]
    evaluator = None
    if judge is not None:
        by_name = {planned.name: job for planned, job in zip(runs, jobs, strict=True)}
        evaluator = Evaluator(lambda run, *rest: _evaluate(judge, by_name[run.name], *rest), beside or StagePlacement())
    fit(runs, placement, posixpath.dirname(runs[0].checkpoint_uri), evaluator)
    for planned, (config, inputs, draft) in zip(runs, jobs, strict=True):
        summary = read_json(posixpath.join(planned.output_uri, SUMMARY))
        draft.precision = summary.pop("precision")
        draft.count(**summary, world=max(1, placement.workers))
        if planned.evaluate_every is not None:
            _keep_evaluations(planned, config, inputs, draft)
        clear(planned.checkpoint_uri)


def _evaluate(judge: ModelJudge, job: Job, step: int, model_uri: str, folder: str) -> Mapping[str, Any]:
    config, inputs, _ = job
    return judge(config, inputs, f"step-{step}", model_uri, folder)


def _keep_evaluations(planned: TrainRun, config: TrainConfig, inputs: Mapping[str, Artifact], draft: Draft) -> None:
    """Write what evaluations found; children see the model as the one that is trained without them."""
    found = read_evaluations(planned)
    filesystem, path = open_storage(draft.at("evaluations.jsonl"))
    with filesystem.open_output_stream(path) as stream:
        stream.write("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found).encode())
    draft.count(evaluations=len(found), not_evaluated=sum("reason" in one for one in found))
    parents = {role: parent for role, parent in inputs.items() if role != "corpus"}
    plain = config.unevaluated().model_dump(mode="json", by_alias=True)
    draft.identity = ArtifactKey(STAGE, "", REVISION, plain, parents).hash


def _plan(job: Job, *, evaluated: bool) -> TrainRun:
    config, inputs, draft = job
    output = absolute(draft.uri)
    root, _, place = output.rpartition("/artifacts/")
    checkpoints = posixpath.join(root, "checkpoints", place.replace("/", "-"))
    planned = plan_run(PurePosixPath(place).name.rpartition("-")[0], config, inputs, output, checkpoints)
    every = config.evaluation.every if config.evaluation is not None and evaluated else None
    return replace(planned, evaluate_every=every)


def plan_run(
    name: str, config: TrainConfig, inputs: Mapping[str, Artifact], output_uri: str, checkpoint_uri: str
) -> TrainRun:
    """Say what the engine is to train.

    Args:
        name: of the run.
        config: how it learns.
        inputs: `model`, `pack` and, for a distilled member, `teacher`.
        output_uri: where results go.
        checkpoint_uri: where checkpoints lie meanwhile.

    Raises:
        DataError: a source of the recipe is not in the pack, or nothing can be trained on.
    """
    model, pack = absolute(inputs["model"].at("model")), absolute(inputs["pack"].uri)
    stage = config.stage.model_dump(mode="json")
    return TrainRun(
        name=name,
        model_uri=model,
        pack_uri=pack,
        output_uri=output_uri,
        checkpoint_uri=checkpoint_uri,
        stage=stage,
        total_steps=open_plan(FeedSpec.of_stage(stage, pack)).total_steps,
        width=width_of(model),
        **_teachers(config, inputs, width_of(model)),
        distillation_weight=config.distillation_weight,
    )


def _teachers(config: TrainConfig, inputs: Mapping[str, Artifact], width: int) -> dict[str, Any]:
    """Settle who teaches, and check that what is given fits the student and its data."""
    roles = [role for role in inputs if role.partition(":")[0] == "teacher"]
    found = [inputs[role] for role in sorted(roles, key=lambda role: int(role.partition(":")[2] or 0))]
    if config.live:
        check_live(found, inputs)
        widths = [width_of(teacher.at("model")) for teacher in found]
    else:
        widths = [check_store(store, inputs["pack"]) for store in found]
    shares = config.teacher_shares or (1.0,) * len(found)
    # Coordinates of a teacher from outside are not the student's, however many: it is reached whole.
    foreign = [not config.live and store.manifest["config"].get("outside") is not None for store in found]
    projected = tuple(
        config.projection and (have < width or (outside and have > width))
        for have, outside in zip(widths, foreign, strict=True)
    )
    for teacher, have in zip(found, widths, strict=True):
        if have < width and not config.projection:
            raise DataError(
                f"{teacher.uri}: has {have} coordinates a text, fewer than the {width} of the student. Take a wider "
                "teacher, or set `projection: true` for the member."
            )
    return {
        "teacher_uris": tuple(absolute(one.at("model") if config.live else one.uri) for one in found),
        "teacher_widths": tuple(
            have if mapped else min(have, width) for have, mapped in zip(widths, projected, strict=True)
        ),
        "teacher_shares": shares,
        "projected": projected,
        "live": config.live,
    }
