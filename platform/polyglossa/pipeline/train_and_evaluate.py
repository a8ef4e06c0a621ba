"""Training as pipelines run it: the stage, with the evaluation stage to judge its models beside it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from polyglossa.artifact import Artifact, Draft, clear, read_json
from polyglossa.evaluate import run as evaluate
from polyglossa.evaluate.models.spec import ModelSpec
from polyglossa.recipe import Profile
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.train import run as train

STAGE, REVISION = train.STAGE, train.REVISION


def run(config: TrainConfig, inputs: Mapping[str, Artifact], draft: Draft, profile: Profile) -> None:
    """Train one model, evaluated beside it where its stage says so."""
    run_many([(config, inputs, draft)], profile)


def run_many(jobs: Sequence[train.Job], profile: Profile) -> None:
    """Train models that do not need each other in one worker group; evaluations use what `evaluate` may use."""
    train.run_many(jobs, profile.train, partial(evaluate_in_training, placement=profile.evaluate), profile.evaluate)


def evaluate_in_training(
    config: TrainConfig,
    inputs: Mapping[str, Artifact],
    revision: str,
    model_uri: str,
    folder: str,
    *,
    placement: StagePlacement,
) -> dict[str, Any]:
    """Judge a model directory that a training left, as the evaluation stage judges a trained one.

    Args:
        config: of the training; its `evaluation` says by what.
        inputs: of the training; `corpus` holds the held-out sets.
        revision: how results call this state of the model.
        model_uri: the directory.
        folder: takes the results for a while.
        placement: number of actors, and what each may use.

    Returns:
        `mean`, `tasks` (mean by name) and `failed` (reason by name).
    """
    assert config.evaluation is not None
    judged_by = config.evaluation.judged_by
    spec = ModelSpec.directory(
        judged_by,
        "polyglossa/in-training",
        revision,
        model_uri,
        instructed=config.stage.instructions,
    )
    draft = Draft(folder)
    try:
        evaluate.run_on(spec, judged_by, inputs["corpus"], draft, placement)
        summary = read_json(draft.at("summary.json"))
    finally:
        clear(folder)
    tasks = {task: figures["mean"] for task, figures in summary["tasks"].items()}
    return {"mean": summary["mean"], "tasks": tasks, "failed": summary["failed"]}
