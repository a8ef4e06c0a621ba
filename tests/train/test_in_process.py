"""Training in the driver's process (promise 1): no worker group, the same model every time, nothing left behind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyglossa.artifact import Artifact, ArtifactKey, produce
from polyglossa.errors import UserError
from polyglossa.model.encoder import Encoder
from polyglossa.objectives.terms import TERMS
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.train import run as train
from train.toys import make_model, make_pack, stage

HERE = TrainPlacement(workers=0, checkpoint_steps=2)


def trained(root: str, placement: TrainPlacement, **changes: Any) -> Artifact:
    roles = {"model": make_model(root), "pack": make_pack(root)}
    config = TrainConfig.of(stage(**changes), distil=False)
    key = ArtifactKey("train", "train.here", train.REVISION, config.model_dump(mode="json"), roles)
    return produce(root, key, lambda draft: train.run(config, roles, draft, placement))


def test_a_run_in_this_process_trains_and_says_that_its_world_is_one(tmp_path: Path) -> None:
    made = trained(str(tmp_path), HERE)
    assert (made.counts["steps"], made.counts["world"]) == (6, 1)
    assert not list(tmp_path.glob("checkpoints/*"))


def test_two_runs_in_this_process_give_the_same_model(tmp_path: Path) -> None:
    first, second = (trained(str(tmp_path / name), HERE) for name in ("one", "two"))
    models = [Encoder.load(made.at("model")).encode(["bacan", "dalor"]) for made in (first, second)]
    assert (models[0] == models[1]).all()


def test_the_size_of_a_forward_pass_is_no_part_of_the_model(tmp_path: Path) -> None:
    found = []
    for tokens in (16, 4096):
        placement = TrainPlacement(workers=0, pass_tokens=tokens, checkpoint_steps=2)
        made = trained(str(tmp_path / str(tokens)), placement)
        found.append(Encoder.load(made.at("model")).encode(["bacan", "dalor"]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_a_term_that_is_added_counts_in_every_step_of_a_member_without_a_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TERMS, "nearness", lambda inputs: inputs.state_TD.square().mean())
    objective = stage().objective.changed(terms={"nearness": 0.5, "cosine": 1.0})
    made = trained(str(tmp_path), HERE, objective=objective.model_dump())
    steps = [json.loads(line) for line in Path(made.at("metrics.jsonl")).read_text().splitlines()]
    assert all(step["terms"]["nearness"] > 0 and "cosine" not in step["terms"] for step in steps)


def test_a_zero_stage_needs_a_worker_group(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set train\.zero"):
        trained(str(tmp_path), TrainPlacement(workers=0, zero=2))
