"""Protects the short way from `polyglossa run` to the loss: the files that platform/README.md lists, in order."""

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from polyglossa.artifact import ArtifactKey, produce
from polyglossa.cli.models import run as command
from polyglossa.engine import loop, objective, step, trainer
from polyglossa.objectives import batch
from polyglossa.pipeline import run as pipeline
from polyglossa.pipeline import train_and_evaluate
from polyglossa.pipeline.concurrent import node_task
from polyglossa.pipeline.stages import STAGES
from polyglossa.recipe import Profile
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.train import run as train
from train.toys import make_model, make_pack, stage

ARCHITECTURE = Path(__file__).parents[2] / "platform/README.md"
MOST_FILES = 10

CHAIN: tuple[tuple[Callable[..., Any], str], ...] = (
    (command.run, "run_recipe("),
    (command.run_recipe, "run(loaded"),
    (pipeline.run, "make("),
    (pipeline.make, "run_node"),
    (node_task.run_node, "make_group("),
    (node_task.make_group, "_run_group("),
    (node_task._run_group, "module.run("),
    (train_and_evaluate.run, "run_many("),
    (train_and_evaluate.run_many, "train.run_many("),
    (train.run_many, "fit("),
    (train.fit, "_fit_group("),
    (train._fit_group, "_trainer("),
    (train._trainer, "train_as_worker"),
    (train.train_as_worker, "train("),
    (trainer.train, "run_loop("),
    (loop.run_loop, "run_step("),
    (step.run_step, "_loss("),
    (step._loss, "objective("),
    (objective.StageObjective.__call__, "embedding_loss("),
    (batch.embedding_loss, "return"),
)
"""Each function with the call in its own text that leads to the next one."""


def file_of(function: Callable[..., Any]) -> str:
    return Path(inspect.getfile(function)).as_posix().rpartition("/polyglossa/")[2]


def test_the_documented_chain_is_the_code_s_and_has_ten_files_at_most() -> None:
    files = list(dict.fromkeys(file_of(function) for function, _ in CHAIN))
    section = ARCHITECTURE.read_text(encoding="utf-8").partition("## From `polyglossa run` to the loss")[2]
    documented = re.findall(r"^\d+\. `([\w/]+\.py)`", section, flags=re.MULTILINE)
    assert documented == files
    assert len(files) <= MOST_FILES


def test_every_link_calls_the_next_one_from_its_own_body() -> None:
    assert import_module(STAGES["train"].module) is train_and_evaluate
    for function, call in CHAIN:
        assert call in inspect.getsource(function), (function, call)


def test_no_closure_stands_between_a_training_and_its_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks: list[list[str]] = []

    def remember(*given: Any, **options: Any) -> Any:
        frame: FrameType | None = inspect.currentframe()
        assert frame is not None
        stacks.append([])
        while frame := frame.f_back:
            if "/polyglossa/" in frame.f_code.co_filename:
                stacks[-1].append(frame.f_code.co_qualname)
        return batch.embedding_loss(*given, **options)

    monkeypatch.setattr(objective, "embedding_loss", remember)
    roles = {"model": make_model(str(tmp_path)), "pack": make_pack(str(tmp_path))}
    config = TrainConfig.of(stage(), distil=False)
    key = ArtifactKey("train", "toy", train.REVISION, config.model_dump(mode="json"), roles)
    profile = Profile(train=TrainPlacement(workers=0))
    produce(str(tmp_path), key, lambda draft: train_and_evaluate.run(config, roles, draft, profile))
    ways = {tuple(reversed(stack)) for stack in stacks}
    assert len(ways) == 1
    way = [name for name in ways.pop() if name != "produce"]
    assert way == [
        *("run", "run_many", "run_many", "fit", "fit_in_process"),
        *("train", "run_loop", "run_step", "_loss", "StageObjective.__call__"),
    ]
