"""What people watch while a run trains, and which checkpoints stay for them: the newest and the best."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.worlds import Case, make_backend, make_batch
from polyglossa.engine.checkpoints.checkpoint import Writer
from polyglossa.engine.checkpoints.checkpoint_index import committed_steps
from polyglossa.engine.loop import StepRecord
from polyglossa.engine.objective import build_objective
from polyglossa.engine.stage_spec import ObjectiveSpec
from polyglossa.engine.step import Budget, run_step
from polyglossa.engine.trackers import TRACKERS, open_trackers
from polyglossa.errors import PolyglossaError
from polyglossa.recipe.placement import TrackingConfig
from polyglossa.recipe.sections.train import ObjectiveConfig

RECORD = StepRecord(
    step=7, source="cldr", loss=1.5, terms={"in_batch": 1.5}, learning_rate=1e-3, grad_norm=0.1, spread=0.5,
    examples=4, texts=8, tokens=64, padding=0.0, seconds=0.2, data_wait=0.0,
)  # fmt: skip


def test_tensorboard_gets_every_figure_and_the_losses_of_each_source(tmp_path: Path) -> None:
    tracking = open_trackers(TrackingConfig(tensorboard=str(tmp_path)), "train.base")
    tracking.after_step(RECORD)
    tracking.close()
    (events,) = (tmp_path / "train.base").glob("events.*")
    written = events.read_bytes()
    assert all(name in written for name in (b"learning_rate", b"loss/cldr", b"terms/in_batch"))


class Recorder:
    """A tracker that remembers."""

    def __init__(self, place: str, name: str) -> None:
        self.name, self.logged = f"{place}/{name}", dict[int, dict[str, float]]()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.logged[step] = dict(figures)

    def close(self) -> None:
        self.logged.clear()


def test_an_added_tracker_gets_every_step_where_the_profile_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Recorder] = []
    monkeypatch.setitem(TRACKERS, "recorder", lambda place, name: made.append(Recorder(place, name)) or made[-1])

    class Tracking(TrackingConfig):
        recorder: str | None = None

    open_trackers(Tracking(), "train.base")
    assert not made
    tracking = open_trackers(Tracking(recorder="here"), "train.base")
    tracking.after_step(RECORD)
    assert made[0].name == "here/train.base"
    assert made[0].logged[7]["loss"] == made[0].logged[7]["terms/in_batch"] == 1.5


def test_a_tracker_whose_library_is_missing_says_what_to_install() -> None:
    with pytest.raises(PolyglossaError, match="pip install mlflow"):
        open_trackers(TrackingConfig(mlflow="http://127.0.0.1:1"), "train.base")


def test_the_newest_checkpoints_stay_and_the_one_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    backend = make_backend(Case("saved"))
    objective = build_objective(ObjectiveSpec.of(ObjectiveConfig()), width=35)
    run_step(backend, make_batch(0, 0, 1), objective, budget=Budget(1, 1 << 20))
    backend.update(1e-3)
    for losses in ({1: 0.9, 2: 0.3, 3: 0.5}, {4: 0.6, 5: 0.7}):  # the second writer is that of a resumed run
        writer = Writer(str(tmp_path), keep=2)
        for step, loss in losses.items():
            writer.note_validation(step, loss)
            writer.save(step, backend)
        writer.wait()
        writer.close()
    assert committed_steps(str(tmp_path)) == [2, 4, 5]
