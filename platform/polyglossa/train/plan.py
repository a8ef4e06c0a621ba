"""Plan a training run: where it reads and writes, how many steps it takes, who teaches. No weights are loaded."""

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from polyglossa.artifact import Artifact, Draft
from polyglossa.data.feed_spec import FeedSpec, open_plan
from polyglossa.engine.train_run import TrainRun, width_of
from polyglossa.errors import DataError
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.storage import absolute
from polyglossa.train.teachers import check_live, check_store

Job = tuple[TrainConfig, Mapping[str, Artifact], Draft]


def plan_job(job: Job, *, evaluated: bool) -> TrainRun:
    """Plan the run of a job: checkpoints lie beside the artifacts, not in the draft, which an interruption clears."""
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
