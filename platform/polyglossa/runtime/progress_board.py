"""The actor that workers report progress to and the driver reads.

A module of its own, because the actor's process must not import torch.
"""

from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class ProgressBoard:
    """Progress of runs by name."""

    def __init__(self) -> None:
        self._progress: dict[str, tuple[int, str]] = {}
        self._stopped: str | None = None
        self._warnings: list[str] = []
        self._notes: list[str] = []
        self._committed: list[tuple[str, int]] = []

    def tell(self, name: str, done: int, note: str) -> None:
        """Note a run's finished steps and a short text."""
        self._progress[name] = (done, note)

    def warn(self, text: str) -> None:
        """Note something that the person should see."""
        self._warnings.append(text)

    def warnings(self, first: int) -> list[str]:
        """Return the warnings from number `first` on."""
        return self._warnings[first:]

    def note(self, text: str) -> None:
        """Note something that the person may want to know."""
        self._notes.append(text)

    def notes(self, first: int) -> list[str]:
        """Return the notes from number `first` on."""
        return self._notes[first:]

    def commit(self, name: str, step: int) -> None:
        """Note that a run's checkpoint is whole."""
        self._committed.append((name, step))

    def committed(self, first: int) -> list[tuple[str, int]]:
        """Return (run, step) of checkpoints, from number `first` on."""
        return self._committed[first:]

    def stop(self, reason: str) -> None:
        """Note why a run must not be tried again."""
        self._stopped = reason

    def read(self) -> tuple[dict[str, tuple[int, str]], str | None]:
        """Return progress by run, and the reason of a stop."""
        return self._progress, self._stopped


def start_progress_board() -> Any:
    """Start the actor on the driver's own node: a lost worker node must not take it along."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return cast(Any, ray.remote(num_cpus=0, scheduling_strategy=here)(ProgressBoard)).remote()
