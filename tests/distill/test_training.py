"""Distilled trainings from artifact to artifact, in one process: live, projected, and with late checkpoints kept."""

from pathlib import Path

import pytest
import torch

from distill.conftest import MakeStore
from polyglossa.artifact import Artifact, ArtifactKey, produce
from polyglossa.errors import DataError
from polyglossa.merge import run as merge
from polyglossa.model.directory import load_model
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.train import run as train
from train.toys import stage

PLACEMENT = TrainPlacement(workers=0, zero=0, checkpoint_steps=100)


def trained(tmp_path: Path, config: TrainConfig, inputs: dict[str, Artifact]) -> Artifact:
    key = ArtifactKey("train", "toy", train.REVISION, config.model_dump(mode="json"), inputs)
    return produce(str(tmp_path), key, lambda draft: train.run(config, inputs, draft, PLACEMENT))


def test_a_live_teacher_trains_the_same_student_as_its_store(
    tmp_path: Path, student: Artifact, teacher: Artifact, pack: Artifact, make_store: MakeStore
) -> None:
    inputs = {"model": student, "pack": pack}
    stored = trained(
        tmp_path,
        TrainConfig.of(stage(), distil=True),
        {**inputs, "teacher": make_store(teacher, pack, stored="float32")},
    )
    live = trained(tmp_path, TrainConfig.of(stage(), distil=True, live=True), {**inputs, "teacher": teacher})
    states = [load_model(model.at("model")).backbone.state_dict() for model in (stored, live)]
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-3, atol=1e-5)


def test_a_narrower_teacher_needs_a_projection_that_stays_out_of_the_model(
    tmp_path: Path, student: Artifact, narrow: Artifact, pack: Artifact, make_store: MakeStore
) -> None:
    inputs = {"model": student, "pack": pack, "teacher": make_store(narrow, pack)}
    with pytest.raises(
        DataError, match=r"has 16 coordinates a text, fewer than the 32 of the student.*`projection: true`"
    ):
        trained(tmp_path, TrainConfig.of(stage(), distil=True), inputs)
    model = trained(tmp_path, TrainConfig.of(stage(), distil=True, projection=True), inputs)
    backbone = load_model(model.at("model")).backbone
    assert set(backbone.state_dict()) == set(load_model(student.at("model")).backbone.state_dict())


def test_late_checkpoints_become_models_that_merge(tmp_path: Path, student: Artifact, pack: Artifact) -> None:
    config = TrainConfig.of(stage(late_checkpoints=2, late_checkpoint_steps=2), distil=False)
    model = trained(tmp_path, config, {"model": student, "pack": pack})
    assert model.counts["late_steps"] == [2, 4]
    folders = merge._models_of(model, late=True)
    assert [folder.removeprefix(model.uri) for folder in folders] == ["/late/2", "/late/4", "/model"]
    weights = [load_model(folder).backbone.state_dict()["norm.weight"] for folder in folders]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert merge._models_of(model, late=False) == [model.at("model")]
    assert not list(tmp_path.glob("checkpoints/*"))
