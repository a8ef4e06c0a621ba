"""Evaluations beside a training: it never waits for them, they judge what it was, failures are told and borne."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from polyglossa.artifact import Artifact, read_json, write_json
from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.data.stream import local_batches
from polyglossa.engine.online_evaluation import (
    Evaluations,
    Evaluator,
    awaits_export,
    evaluation_folder,
    read_evaluations,
)
from polyglossa.engine.train_run import Compute, TrainRun
from polyglossa.engine.trainer import train
from polyglossa.errors import TrainingError
from polyglossa.evaluate.scoring.retrieval import heldout_score
from polyglossa.evaluate.tasks.heldout import read_heldout
from polyglossa.model.encoder import Encoder
from polyglossa.pipeline.train_and_evaluate import evaluate_in_training
from polyglossa.recipe.placement import StagePlacement, TrackingConfig, TrainPlacement
from polyglossa.recipe.sections.evaluate import EvaluateConfig
from polyglossa.recipe.sections.train import EvaluationBeside, TrainConfig
from polyglossa.train.online_evaluation_ray import start_evaluations
from polyglossa.train.plan import plan_run
from train.toys import make_corpus, make_model, make_pack, stage

SECONDS = 120
FOUND = {"mean": 0.5, "tasks": {"words": 0.5}, "failed": {}}
NOWHERE = TrackingConfig()


def planned(root: Path, **changes: Any) -> tuple[TrainConfig, dict[str, Artifact], TrainRun]:
    """A run of four steps that is evaluated after two and four."""
    inputs = {"model": make_model(str(root)), "pack": make_pack(str(root)), "corpus": make_corpus(str(root))}
    beside = EvaluationBeside(every=2, judged_by=EvaluateConfig(heldout=("words",), resamples=100))
    config = TrainConfig.of(stage(steps=4, **changes), distil=False, evaluation=beside)
    run = plan_run("toy", config, inputs, str(root / "output"), str(root / "checkpoints"))
    return config, inputs, replace(run, evaluate_every=2)


@pytest.mark.usefixtures("ray_local")
def test_training_goes_on_while_a_model_of_it_is_judged_and_after_a_judge_fails(tmp_path: Path) -> None:
    config, inputs, run = planned(tmp_path, late_checkpoints=1, late_checkpoint_steps=2)
    order: list[str] = []
    judging, trained = threading.Event(), threading.Event()

    def judged(run: TrainRun, step: int, model: str, folder: str) -> Mapping[str, Any]:
        order.append(f"judging {step}")
        judging.set()
        if step == 4:
            raise TrainingError("the judge is ill")
        assert trained.wait(SECONDS), "the training waited for its evaluation"
        found = evaluate_in_training(config, inputs, f"step-{step}", model, folder, placement=StagePlacement())
        order.append(f"judged {step}")
        return found

    def tell(done: int, note: str) -> None:
        if done == 3:
            assert judging.wait(SECONDS), "no evaluation began while the training went on"
        evaluations.trained(run.name, done)
        order.append(f"trained {done}")

    evaluations = start_evaluations([run], TrainPlacement(workers=0), Evaluator(judged, StagePlacement()))
    train(
        run,
        Compute(zero=None, resident_tokens=128, checkpoint_steps=100),
        lambda start: PrefetchedBatches(local_batches(run.feed, start=start)),
        tell,
        print,
        partial(evaluations.committed, run.name),
    )
    trained.set()
    evaluations.finished(run.name)
    evaluations.wait()

    assert order.index("judging 2") < order.index("trained 3") < order.index("trained 4") < order.index("judged 2")
    second, fourth = read_evaluations(run)
    assert (second["step"], second["trained"]) == (2, [2, 4])
    assert (fourth["step"], fourth["reason"]) == (4, "TrainingError: the judge is ill")
    # What is kept as a late model was gathered from the training itself, and is judged here without Ray and mteb.
    kept = Encoder.load(f"{run.output_uri}/late/2")
    score = heldout_score(read_heldout(inputs["corpus"], "words"), kept, instructed=False)
    assert second["tasks"] == {"words": pytest.approx(score, abs=1e-5)}  # mteb rounds
    assert 0 < score < 1


def test_what_an_interrupted_training_left_is_evaluated_once(tmp_path: Path) -> None:
    _, _, run = planned(tmp_path)
    run = replace(run, total_steps=8)
    for step, mark in ((2, "scores.json"), (4, "EXPORTED"), (6, "model/config.json")):
        Path(evaluation_folder(run, step), mark).parent.mkdir(parents=True)
        write_json(f"{evaluation_folder(run, step)}/{mark}", {"step": step, **FOUND})
    asked: list[tuple[int, str]] = []
    exported: list[int] = []

    def judged(run: TrainRun, step: int, model: str, folder: str) -> Mapping[str, Any]:
        asked.append((step, model.removeprefix(run.checkpoint_uri)))
        return FOUND

    def export(run: TrainRun, step: int, uri: str) -> None:
        exported.append(step)

    evaluations = Evaluations([run], judged, export=export, aside=lambda: True, tracking=NOWHERE)
    evaluations.committed(run.name, 4)
    evaluations.wait()
    assert exported == [6]
    assert asked == [(4, "/evaluated/00000004/model"), (6, "/evaluated/00000006/model")]
    assert [one["step"] for one in read_evaluations(run)] == [2, 4, 6]
    assert not awaits_export(run, 6)
    assert awaits_export(run, 8)


def test_an_abandoned_training_notes_nothing_so_that_it_is_evaluated_when_it_resumes(tmp_path: Path) -> None:
    _, _, run = planned(tmp_path)
    begun, abandoned = threading.Event(), threading.Event()

    def judged(run: TrainRun, step: int, model: str, folder: str) -> Mapping[str, Any]:
        begun.set()
        abandoned.wait(SECONDS)
        return FOUND

    evaluations = Evaluations([run], judged, export=lambda *_: None, aside=lambda: True, tracking=NOWHERE)
    evaluations.committed(run.name, 2)
    assert begun.wait(SECONDS)
    evaluations.abandon()
    abandoned.set()
    evaluations.wait()
    assert read_evaluations(run) == []


def test_an_evaluation_that_finds_no_room_waits_until_training_is_over(tmp_path: Path) -> None:
    _, _, run = planned(tmp_path)
    asked: list[int] = []
    looked = threading.Event()

    def judged(run: TrainRun, step: int, model: str, folder: str) -> Mapping[str, Any]:
        asked.append(step)
        return {**FOUND, "failed": {"lost": "no such file"}}

    def aside() -> bool:
        looked.set()
        return False

    folder = TrackingConfig(tensorboard=str(tmp_path / "watched"))
    evaluations = Evaluations([run], judged, export=lambda *_: None, aside=aside, tracking=folder)
    evaluations.committed(run.name, 2)
    assert looked.wait(SECONDS)
    assert asked == []
    evaluations.wait()
    assert asked == [2]
    assert read_json(f"{evaluation_folder(run, 2)}/scores.json")["failed"] == {"lost": "no such file"}
    assert list((tmp_path / "watched" / "toy.evaluation").iterdir())


def test_evaluations_leave_the_hash_of_a_training_that_has_none_and_what_is_trained(tmp_path: Path) -> None:
    config, _, _ = planned(tmp_path)
    plain = TrainConfig.of(stage(steps=4), distil=False)
    assert "evaluat" not in json.dumps(plain.model_dump(mode="json"))
    assert config.unevaluated() == plain
