"""Stage `train`: hand runs to the engine. Inputs `model`, `pack` and, for a distilled member, `teacher`.

Checkpoints lie at `<root>/checkpoints/<stage>-<hash>/`, outside the draft, so an interrupted run goes on where it
stopped when the same artifact is asked for again.
"""

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from polyglossa.artifact import Artifact, Draft, clear, read_json
from polyglossa.engine.export import SUMMARY
from polyglossa.engine.launch import fit
from polyglossa.engine.runs import TrainRun, width_of
from polyglossa.engine.spec import FeedSpec, open_plan
from polyglossa.errors import DataError
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.recipe.train import TrainConfig
from polyglossa.train.teachers import check_live, check_store

STAGE = "train"
REVISION = 1

Job = tuple[TrainConfig, Mapping[str, Artifact], Draft]


def run(config: TrainConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: TrainPlacement) -> None:
    """Train one model."""
    run_many([(config, inputs, draft)], placement)


def run_many(jobs: Sequence[Job], placement: TrainPlacement) -> None:
    """Train models that do not need each other, one after another in one worker group.

    Raises:
        DataError: a source of the recipe is not in the pack, or nothing can be trained on.
        TrainingError: a run diverged or its workers kept failing.
    """
    runs = [_planned(*job) for job in jobs]
    fit(runs, placement, posixpath.dirname(runs[0].checkpoint_uri))
    for planned, (_, _, draft) in zip(runs, jobs, strict=True):
        draft.count(**read_json(posixpath.join(planned.output_uri, SUMMARY)), world=max(1, placement.workers))
        clear(planned.checkpoint_uri)


def _planned(config: TrainConfig, inputs: Mapping[str, Artifact], draft: Draft) -> TrainRun:
    output = _anywhere(draft.uri)
    root, _, place = output.rpartition("/artifacts/")
    checkpoints = posixpath.join(root, "checkpoints", place.replace("/", "-"))
    return plan_run(PurePosixPath(place).name.rpartition("-")[0], config, inputs, output, checkpoints)


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
    model, pack = _anywhere(inputs["model"].at("model")), _anywhere(inputs["pack"].uri)
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
    projected = tuple(have < width for have in widths) if config.projection else (False,) * len(found)
    for teacher, have in zip(found, widths, strict=True):
        if have < width and not config.projection:
            raise DataError(
                f"{teacher.uri}: has {have} coordinates a text, fewer than the {width} of the student. Take a wider "
                "teacher, or set `projection: true` for the member."
            )
    return {
        "teacher_uris": tuple(_anywhere(one.at("model") if config.live else one.uri) for one in found),
        "teacher_widths": tuple(min(have, width) for have in widths),
        "teacher_shares": shares,
        "projected": projected,
        "live": config.live,
    }


def _anywhere(uri: str) -> str:
    """Make a local path absolute: workers run in folders of their own."""
    return uri if "://" in uri else str(Path(uri).absolute())
