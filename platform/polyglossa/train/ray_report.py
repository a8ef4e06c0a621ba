"""Tell Ray Train and Prometheus how a run goes, so that the dashboard, Grafana and `Result` have it.

What resumes a run are its own checkpoints (`engine/checkpoints`); Ray Train gets a pointer to each. A report is a
barrier of all ranks, so it comes where each of them saves, never where one alone knows something.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.train
from ray.util.metrics import Gauge

from polyglossa.engine.loop import Callback, StepRecord

POINTER = "checkpoint.json"
"""File of a reported checkpoint: `uri` of the folder with the weights, `run`, `step`."""

GAUGES: Mapping[str, str] = {
    "polyglossa_train_step": "Steps done",
    "polyglossa_train_loss": "Loss of the last batch",
    "polyglossa_train_learning_rate": "Learning rate",
    "polyglossa_train_gradient_norm": "Global norm before clipping",
    "polyglossa_train_tokens_per_second": "Tokens of the whole batch by the step's time",
    "polyglossa_train_data_wait_share": "Share of the step spent waiting for its batch",
}


def report_checkpoint(name: str, place: int, figures: Mapping[str, Any], uri: str) -> None:
    """Report a run's last figures and where its weights are; every rank calls it, rank 0 speaks.

    Args:
        name: of the run.
        place: this rank.
        figures: of the last step: loss, learning rate, and `validation`, the loss by task, where it was validated.
        uri: folder of the weights.
    """
    if place != 0:
        ray.train.report({})
        return
    told = {"run": name, "checkpoint_uri": uri, **_flat(figures)}
    if "step" in told:
        told["step"] = int(told["step"]) + 1  # of steps done, as checkpoints count
    with tempfile.TemporaryDirectory() as folder:
        pointer = {"run": name, "uri": uri, "step": told.get("step")}
        Path(folder, POINTER).write_text(json.dumps(pointer), encoding="utf-8")
        ray.train.report(told, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Name nested figures by their path (`validation/retrieval`), as trackers do."""
    flat: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}/{key}": one for key, one in value.items()}
        else:
            flat[name] = value
    return flat


class StepGauges(Callback):
    """Sets Prometheus gauges of a run after each step. A callback of the loop, for one rank."""

    def __init__(self, name: str) -> None:
        """Set which run's they are."""
        self._tags = {"run": name}
        self._gauges = {gauge: Gauge(gauge, text, tag_keys=("run",)) for gauge, text in GAUGES.items()}

    def after_step(self, record: StepRecord) -> None:
        """Set the gauges."""
        seconds = max(record.seconds, 1e-9)
        values = {
            "step": record.step + 1,
            "loss": record.loss,
            "learning_rate": record.learning_rate,
            "gradient_norm": record.grad_norm,
            "tokens_per_second": record.tokens / seconds,
            "data_wait_share": record.data_wait / seconds,
        }
        for name, value in values.items():
            self._gauges[f"polyglossa_train_{name}"].set(value, self._tags)
