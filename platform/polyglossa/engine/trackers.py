"""Report a run's metrics to TensorBoard, MLflow or Weights & Biases while it trains. Chosen by the profile.

To add one: a class with `log` and `close`, its name in `TRACKERS`, and a field of that name in `TrackingConfig`
(`recipe/placement.py`).

`metrics.jsonl` is always written and is what reports read; these are views of it for people. Only rank 0 speaks to
them. A resumed run goes on in the same place: steps are numbers of the plan, so its curve continues.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from polyglossa.engine.loop import Callback, StepRecord
from polyglossa.errors import PolyglossaError
from polyglossa.recipe.placement import TrackingConfig

_FIGURES = ("loss", "learning_rate", "grad_norm", "spread", "tokens", "padding", "seconds", "data_wait")


class Tracker(Protocol):
    """Somewhere figures go."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Take one step's figures."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Event files in a folder, read by `tensorboard --logdir`."""

    def __init__(self, folder: str, name: str) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(f"{folder}/{name}", flush_secs=10)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for figure, value in figures.items():
            self._writer.add_scalar(figure, value, step)

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class MLflow:
    """A run of an MLflow server, or of a folder."""

    def __init__(self, uri: str, name: str) -> None:
        import mlflow  # type: ignore[import-not-found]  # an extra

        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("polyglossa")
        self._mlflow = mlflow
        mlflow.start_run(run_name=name)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._mlflow.log_metrics(dict(figures), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._mlflow.end_run()


class WeightsAndBiases:
    """A run of a Weights & Biases project; its key comes from the environment (WANDB_API_KEY)."""

    def __init__(self, project: str, name: str) -> None:
        import wandb  # type: ignore[import-not-found]  # an extra

        self._run = wandb.init(project=project, name=name, id=name, resume="allow")

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()


TRACKERS: Mapping[str, Callable[[str, str], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}
"""By their fields in `TrackingConfig`: (the field's value, name of the run) → where figures go."""


class Tracking(Callback):
    """Sends every step's figures to the trackers."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        """Set who is told."""
        self._trackers = trackers

    def after_step(self, record: StepRecord) -> None:
        """Tell the trackers; a term is named `terms/<name>`, the loss of a source also `loss/<source>`."""
        plain = record.plain()
        figures = {name: float(plain[name]) for name in _FIGURES} | {f"loss/{record.source}": record.loss}
        figures |= {f"terms/{name}": value for name, value in record.terms.items()}
        self.log(record.step, figures)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Tell the trackers figures of a step."""
        for tracker in self._trackers:
            tracker.log(step, figures)

    def close(self) -> None:
        """Close the trackers."""
        for tracker in self._trackers:
            tracker.close()


def open_trackers(tracking: TrackingConfig, name: str) -> Tracking:
    """Open what a profile asks for.

    Raises:
        PolyglossaError: a tracker's library is not installed.
    """
    return Tracking(list(_open_each(tracking, name)))


def _open_each(tracking: TrackingConfig, name: str) -> Iterator[Tracker]:
    for kind, tracker in TRACKERS.items():
        place = getattr(tracking, kind)
        if place is not None:
            try:
                yield tracker(place, name)
            except ImportError as error:
                raise PolyglossaError(
                    f"train.tracking.{kind}: {error.name} is not installed here. Run `pip install {error.name}`, "
                    "or take it out of the profile."
                ) from None
