"""The stored loss curve: 50 float32 steps of the toy model in one process.

PYTHONPATH=platform:tests OMP_NUM_THREADS=1 python -m engine.curve      # writes tests/engine/curve.json
"""

import json
import tempfile
from pathlib import Path

from polyglossa.data.stream import FeedSpec, local_batches
from polyglossa.engine.backends.plain import PlainBackend
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.loop import Callback, StepRecord, run_loop
from polyglossa.engine.objective import build_objective
from polyglossa.engine.stage_spec import ObjectiveSpec
from polyglossa.engine.step import Budget
from polyglossa.model.directory import load_model
from train.toys import make_model, make_pack, stage

STORED = Path(__file__).with_name("curve.json")
STEPS = 50


class Keep(Callback):
    """Keeps every step's record."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    def after_step(self, record: StepRecord) -> None:
        """Keep the record."""
        self.records.append(record)


def losses(root: str) -> list[float]:
    """Train and return the loss of every step."""
    from engine.worlds import settings

    options = stage(steps=STEPS)
    keep = Keep()
    run_loop(
        PlainBackend(Embedder(load_model(make_model(root).at("model")), dtype="float32"), settings=settings()),
        local_batches(FeedSpec.of_stage(options, make_pack(root).uri)),
        build_objective(ObjectiveSpec.of(options.objective), width=32),
        rate=lambda step: 3e-4,
        budget=Budget(pass_tokens=64, resident_tokens=128),
        callbacks=[keep],
    )
    return [record.loss for record in keep.records]


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        STORED.write_text(json.dumps([round(loss, 7) for loss in losses(root)]) + "\n")


if __name__ == "__main__":
    main()
