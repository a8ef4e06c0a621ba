"""Ray Train has a run's figures, its validation and where its weights are, without holding the weights itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import ray.train

from polyglossa.artifact import ArtifactKey, open_drafts
from polyglossa.engine.callbacks import MetricsLog
from polyglossa.engine.loop import StepRecord
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.train import run as train
from polyglossa.train.plan import plan_job
from polyglossa.train.ray_report import POINTER, report_checkpoint
from train.toys import make_model, make_pack, stage

RECORD = StepRecord(
    step=3, source="alpha", loss=0.5, terms={"hard": 0.5}, learning_rate=1e-3, grad_norm=1.0, spread=0.5, examples=8,
    texts=16, tokens=100, padding=0.0, seconds=1.0, data_wait=0.1,
)  # fmt: skip


def test_only_rank_0_speaks_and_every_rank_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[dict[str, Any], Any]] = []

    def hear(metrics: dict[str, Any], checkpoint: ray.train.Checkpoint | None = None) -> None:
        pointer = None if checkpoint is None else json.loads(Path(checkpoint.path, POINTER).read_text())
        told.append((metrics, pointer))

    monkeypatch.setattr(ray.train, "report", hear)
    figures = RECORD.plain() | {"validation": {"retrieval": 0.25}}
    report_checkpoint("small.stage1", 1, figures, "s3://b/step-4")
    report_checkpoint("small.stage1", 0, figures, "s3://b/step-4")
    assert told[0] == ({}, None)
    metrics, pointer = told[1]
    assert pointer == {"run": "small.stage1", "uri": "s3://b/step-4", "step": 4}
    assert metrics["validation/retrieval"] == 0.25
    assert (metrics["loss"], metrics["step"], metrics["terms/hard"]) == (0.5, 4, 0.5)


def test_every_rank_knows_the_last_steps_figures_with_its_validation(tmp_path: Path) -> None:
    silent = MetricsLog(str(tmp_path), writes=False, dtype="float32")
    silent.after_step(RECORD)
    silent.add(validation={"retrieval": 0.25})
    silent.flush()
    assert silent.last == {"dtype": "float32", **RECORD.plain(), "validation": {"retrieval": 0.25}}
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_the_result_of_a_group_has_the_last_figures_and_names_the_weights(tmp_path: Path) -> None:
    root = str(tmp_path)
    roles = {"model": make_model(root), "pack": make_pack(root)}
    config = TrainConfig.of(stage(), distil=False)
    key = ArtifactKey("train", "train.small.0", train.REVISION, config.model_dump(mode="json"), roles)
    with open_drafts(root, [key]) as drafts:
        run = plan_job((config, roles, drafts[0]), evaluated=False)
        result = train.fit([run], TrainPlacement(workers=2, checkpoint_steps=4), f"{root}/checkpoints")
        assert result is not None
        assert result.metrics["run"] == run.name
        assert result.metrics["step"] == run.total_steps
        assert result.metrics["loss"] > 0
        assert result.metrics["checkpoint_uri"] == run.output_uri
