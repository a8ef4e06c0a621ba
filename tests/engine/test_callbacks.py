"""A run that must not go on says so with its step and source, before the weights are spoiled."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from engine.worlds import make_batch
from polyglossa.engine.callbacks import DivergedError, Guard, MetricsLog, Progress
from polyglossa.engine.checkpoints import checkpoint
from polyglossa.engine.loop import StepRecord
from polyglossa.engine.step import StepResult, mean_cosine_distance

RECORD = StepRecord(0, "alpha", 1.0, {"hard": 1.0}, 1e-3, 0.5, 0.4, 8, 20, 100, 0.1, 0.5, 0.01)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_term() -> None:
    with pytest.raises(DivergedError, match=r"step 0, source synthetic: the loss is nan \(hard nan\)"):
        Guard(print).before_update(make_batch(0, 0, 1), StepResult(math.nan, {"hard": math.nan}, 0.5))


def test_an_infinite_gradient_stops_the_run() -> None:
    with pytest.raises(DivergedError, match="step 0, source alpha: the gradient's norm is inf"):
        Guard(print).after_step(dataclasses.replace(RECORD, grad_norm=math.inf))


def test_collapsed_embeddings_are_borne_for_a_while_only() -> None:
    guard, batch = Guard(print, patience=2), make_batch(0, 0, 1)
    collapsed = StepResult(1.0, {}, 0.0)
    guard.before_update(batch, collapsed)
    guard.before_update(batch, StepResult(1.0, {}, 0.5))
    guard.before_update(batch, collapsed)
    guard.before_update(batch, collapsed)
    with pytest.raises(DivergedError, match="collapsed"):
        guard.before_update(batch, collapsed)


def test_a_batch_of_one_group_and_a_starved_trainer_are_told_and_borne() -> None:
    told: list[str] = []
    guard, batch = Guard(told.append, patience=2), make_batch(0, 0, 1)
    alone = dataclasses.replace(batch, group_Q=batch.group_Q * 0, negatives_QN=batch.negatives_QN[:, :0])
    guard.before_update(batch, StepResult(1.0, {}, 0.5))
    assert not told
    guard.before_update(alone, StepResult(0.0, {}, 0.5))
    assert "teaches nothing" in told[0]
    for _ in range(3):
        guard.after_step(dataclasses.replace(RECORD, data_wait=0.4))
    assert len(told) == 2
    assert "waited for data" in told[1]


def test_spread_is_zero_for_one_point_and_one_for_opposites() -> None:
    assert mean_cosine_distance(torch.ones(4, 3)) == pytest.approx(0.0, abs=1e-6)
    assert mean_cosine_distance(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(1.0)


def test_metrics_reach_storage_when_they_are_flushed_and_from_one_rank_only(tmp_path: Path) -> None:
    log, silent = MetricsLog(str(tmp_path), writes=True), MetricsLog(str(tmp_path), writes=False)
    for step in range(3):
        log.after_step(dataclasses.replace(RECORD, step=step))
        silent.after_step(RECORD)
    assert checkpoint.read_metrics(str(tmp_path)) == []
    log.flush()
    log.flush()
    silent.flush()
    assert [row["step"] for row in checkpoint.read_metrics(str(tmp_path))] == [0, 1, 2]


def test_progress_tells_the_steps_that_are_done() -> None:
    told: list[tuple[int, str]] = []
    progress = Progress(lambda done, note: told.append((done, note)))
    progress.after_step(dataclasses.replace(RECORD, step=6))
    assert told[0][0] == 7
    assert "loss 1.000" in told[0][1]
