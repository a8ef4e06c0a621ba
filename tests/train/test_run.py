"""The training stage end to end on Ray Train workers (promise 6): model in, trained model and its metrics out."""

import json
from pathlib import Path
from typing import Any

import pytest

from polyglossa.artifact import Artifact, ArtifactKey, open_artifact, open_drafts, produce
from polyglossa.distill import run as distill
from polyglossa.model.directory import load_model
from polyglossa.model.encoder import Encoder
from polyglossa.recipe.placement import StagePlacement, TrainPlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.recipe.sections.teacher import TeacherConfig
from polyglossa.recipe.sections.train import EvaluationBeside, TrainConfig
from polyglossa.train import run as train
from train.toys import make_corpus, make_model, make_pack, stage

PLACEMENT = TrainPlacement(workers=2, zero=2, checkpoint_steps=4)


@pytest.mark.usefixtures("ray_local")
def test_two_runs_share_workers_and_one_learns_from_a_teacher(tmp_path: Path) -> None:
    root = str(tmp_path)
    model, pack = make_model(root), make_pack(root)
    teacher = make_model(root, hidden=48, seed=1)
    roles = {"model": teacher, "pack": pack}
    key = ArtifactKey("distill", "toy", distill.REVISION, {}, roles)
    placement = StagePlacement(workers=1)
    store = produce(root, key, lambda draft: distill.run(TeacherConfig(width=40), roles, draft, placement))
    assert store.counts["width"] == 40

    beside = EvaluationBeside(every=2, judged_by=EvaluateConfig(heldout=("words",)))
    late = stage(steps=5, late_checkpoints=1, late_checkpoint_steps=3)
    configs = [
        TrainConfig.of(stage(dtype="bfloat16"), distil=True),
        TrainConfig.of(late, distil=False, evaluation=beside),
    ]
    roles = {"model": model, "pack": pack}
    inputs = [{**roles, "teacher": store}, {**roles, "corpus": make_corpus(root)}]
    keys = [
        ArtifactKey("train", f"train.small.{number}", train.REVISION, config.model_dump(mode="json"), roles)
        for number, (config, roles) in enumerate(zip(configs, inputs, strict=True))
    ]
    with open_drafts(root, keys) as drafts:
        train.run_many(list(zip(configs, inputs, drafts, strict=True)), PLACEMENT, weighed)
    made = [open_artifact(draft.uri) for draft in drafts]
    assert [artifact.counts["steps"] for artifact in made] == [6, 5]
    assert [set(record["terms"]) >= {"hard"} for record in metrics(made[0])] == [True] * 6
    assert all("distillation" in record["terms"] for record in metrics(made[0]))
    assert not list(tmp_path.glob("checkpoints/*"))
    trained = Encoder.load(made[0].at("model"))
    untrained = Encoder.load(model.at("model"))
    assert trained.width == 32
    assert abs(trained.encode(["bacan"]) - untrained.encode(["bacan"])).max() > 1e-4
    unevaluated = TrainConfig.of(late, distil=False).model_dump(mode="json", by_alias=True)
    check_evaluations(made[1], ArtifactKey("train", "", train.REVISION, unevaluated, roles))


def check_evaluations(made: Artifact, unevaluated: ArtifactKey) -> None:
    """Two CPUs are both the group's: models were judged after it, those of ZeRO 2's checkpoints as they were."""
    second, fourth, last = lines(made, "evaluations.jsonl")
    late = weighed(None, {}, "", made.at("late", "2"), "")
    assert (second["step"], second["mean"], second["trained"]) == (2, pytest.approx(late["mean"], rel=1e-7), [5, 5])
    assert (fourth["step"], fourth["reason"]) == (4, "ValueError: not this one")
    assert (last["step"], last["mean"]) == (5, weighed(None, {}, "", made.at("model"), "")["mean"])
    assert (made.counts["evaluations"], made.counts["not_evaluated"]) == (3, 1)
    assert made.hash == unevaluated.hash != made.manifest["key"]


def weighed(config: TrainConfig | None, inputs: object, revision: str, model: str, folder: str) -> dict[str, Any]:
    """Judge a model by the sum of its weights."""
    if revision == "step-4":
        raise ValueError("not this one")
    total = sum(float(weight.detach().double().abs().sum()) for weight in load_model(model).backbone.parameters())
    return {"mean": total, "tasks": {"sum": total}, "failed": {}}


def metrics(artifact: Artifact) -> list[dict[str, Any]]:
    return lines(artifact, "metrics.jsonl")


def lines(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(artifact.at(name)).read_text().splitlines()]
