"""What a training asks of a backend, over the steps, checkpoints and exports of a run."""

from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor

from polyglossa.engine.embedder import Embedder
from polyglossa.engine.step import Backend

ParameterState = dict[str, Tensor]
"""`weight`, `exp_avg` and `exp_avg_sq` of one parameter, each of its full shape."""
ReadState = Callable[[str], ParameterState]


class TrainingBackend(Backend, Protocol):
    """A model in training, whole or split over ranks."""

    @property
    def embedder(self) -> Embedder:
        """The model that computes."""

    def gradients(self) -> dict[str, Tensor]:
        """Return every parameter's gradient between `backward(last=True)` and `update`. A collective."""

    def states(self) -> Iterator[tuple[str, ParameterState]]:
        """Yield what a checkpoint holds of each parameter, after at least one update. A collective."""

    def restore(self, read: ReadState, step: int) -> None:
        """Take over weights and moments, as after `step` updates. A collective."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every parameter, whole, by the backbone's names. A collective."""

    def close(self) -> None:
        """Let go of what outlives the run in this process."""
