"""Plan a training run: where it reads and writes, how many steps it takes, who teaches. No weights are loaded."""

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from polyglossa.artifact import Artifact, Draft
from polyglossa.data.bundles import TeacherStore
from polyglossa.data.feed_spec import FeedSpec, open_plan
from polyglossa.engine.stage_spec import GuideTerm, StageSpec, TeacherTerm
from polyglossa.engine.train_run import RunTeacher, TrainRun, width_of
from polyglossa.errors import DataError
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.storage import absolute
from polyglossa.train.guide import check_guide, guided_sources
from polyglossa.train.teachers import check_live, check_rescored, check_store

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
        inputs: `model`, `pack`, for a distilled member `teacher`, and `guide` where one is asked for.
        output_uri: where results go.
        checkpoint_uri: where checkpoints lie meanwhile.

    Raises:
        DataError: a source of the recipe is not in the pack, nothing can be trained on, the guide does not read the
            language of a source, or scores that a term reads are missing.
    """
    model, pack = absolute(inputs["model"].at("model")), absolute(inputs["pack"].uri)
    if config.stage.rescored:
        check_rescored(inputs["pack"])
    teachers = _teachers(config, inputs, width_of(model))
    stores = () if config.live else tuple(TeacherStore(one.uri, one.term.width) for one in teachers)
    guide = _guide(config, inputs, pack)
    if guide is not None:
        stores = (*stores, TeacherStore(absolute(inputs["guide"].uri), guide.width))
    feed = FeedSpec.of_stage(config.stage, pack, stores)
    return TrainRun(
        name=name,
        model_uri=model,
        output_uri=output_uri,
        checkpoint_uri=checkpoint_uri,
        stage=StageSpec.of(config.stage),
        feed=feed,
        total_steps=open_plan(feed).total_steps,
        width=width_of(model),
        teachers=teachers,
        live=config.live,
        distillation_weight=config.distillation_weight,
        guide=guide,
    )


def _guide(config: TrainConfig, inputs: Mapping[str, Artifact], pack: str) -> GuideTerm | None:
    """Settle who guides, and check that it fits the data and reads its languages."""
    settings = config.stage.guide
    if settings is None:
        return None
    width = check_store(inputs["guide"], inputs["pack"])
    sources = open_plan(FeedSpec.of_stage(config.stage, pack)).sources
    guided = guided_sources(settings, sources)
    check_guide(settings, [sources[number] for number in guided], pack, TeacherStore(absolute(inputs["guide"].uri)))
    chosen = guided if settings.sources is not None else None
    return GuideTerm(width, settings.margin, settings.most, chosen)


def _teachers(config: TrainConfig, inputs: Mapping[str, Artifact], width: int) -> tuple[RunTeacher, ...]:
    """Settle who teaches, and check that what is given fits the student and its data."""
    roles = [role for role in inputs if role.partition(":")[0] == "teacher"]
    found = [inputs[role] for role in sorted(roles, key=lambda role: int(role.partition(":")[2] or 0))]
    if config.live:
        check_live(found, inputs)
        widths = [width_of(teacher.at("model")) for teacher in found]
    else:
        widths = [check_store(store, inputs["pack"]) for store in found]
    shares = config.teacher_shares or (1.0,) * len(found)
    teachers = []
    for teacher, have, share in zip(found, widths, shares, strict=True):
        if have < width and not config.projection:
            raise DataError(
                f"{teacher.uri}: has {have} coordinates a text, fewer than the {width} of the student. Take a wider "
                "teacher, or set `projection: true` for the member."
            )
        # Coordinates of a teacher from outside are not the student's, however many: it is reached whole.
        outside = not config.live and teacher.manifest["config"].get("outside") is not None
        projected = config.projection and (have < width or (outside and have > width))
        term = TeacherTerm(have if projected else min(have, width), share, projected)
        teachers.append(RunTeacher(absolute(teacher.at("model") if config.live else teacher.uri), term))
    return tuple(teachers)
