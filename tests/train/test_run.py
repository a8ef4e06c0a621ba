"""The training stage end to end on Ray Train workers (promise 6): model in, trained model and its metrics out."""

import json
from pathlib import Path

import pytest

from polyglossa.artifact import Artifact, ArtifactKey, produce_together
from polyglossa.distill import run as distill
from polyglossa.model.encoder import Encoder
from polyglossa.recipe.placement import StagePlacement, TrainPlacement
from polyglossa.recipe.teacher import TeacherConfig
from polyglossa.recipe.train import TrainConfig
from polyglossa.train import run as train
from train.toys import make_model, make_pack, stage

PLACEMENT = TrainPlacement(workers=2, zero=2, checkpoint_steps=4)


@pytest.mark.usefixtures("ray_local")
def test_two_runs_share_workers_and_one_learns_from_a_teacher(tmp_path: Path) -> None:
    root = str(tmp_path)
    model, pack = make_model(root), make_pack(root)
    teacher = make_model(root, hidden=48, seed=1)
    roles = {"model": teacher, "pack": pack}
    key = ArtifactKey("distill", "toy", distill.REVISION, {}, roles)
    placement = StagePlacement(workers=1)
    store = produce_together(
        root, [key], lambda drafts: distill.run(TeacherConfig(width=40), roles, drafts[0], placement)
    )[0]
    assert store.counts["width"] == 40

    configs = [
        TrainConfig.of(stage(dtype="bfloat16"), distil=True),
        TrainConfig.of(stage(steps=5), distil=False),
    ]
    inputs = [{"model": model, "pack": pack, "teacher": store}, {"model": model, "pack": pack}]
    keys = [
        ArtifactKey("train", f"train.small.{number}", train.REVISION, config.model_dump(mode="json"), roles)
        for number, (config, roles) in enumerate(zip(configs, inputs, strict=True))
    ]
    made = produce_together(
        root, keys, lambda drafts: train.run_many(list(zip(configs, inputs, drafts, strict=True)), PLACEMENT)
    )
    assert [artifact.counts["steps"] for artifact in made] == [6, 5]
    assert [set(record["terms"]) >= {"hard"} for record in metrics(made[0])] == [True] * 6
    assert all("distillation" in record["terms"] for record in metrics(made[0]))
    assert not list(tmp_path.glob("checkpoints/*"))
    trained = Encoder.load(made[0].at("model"))
    untrained = Encoder.load(model.at("model"))
    assert trained.width == 32
    assert abs(trained.encode(["bacan"]) - untrained.encode(["bacan"])).max() > 1e-4


def metrics(artifact: Artifact) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(artifact.at("metrics.jsonl")).read_text().splitlines()]
