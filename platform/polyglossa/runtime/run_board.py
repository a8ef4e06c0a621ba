"""The actor that the drivers of a run's nodes report to, and that the run's own process reads.

A module of its own, because the actor's process must not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_RETRIES = 3

Said = tuple[str, str | None, bool]
"""A line for the person, its style, and whether it is said once however many say it."""


class RunBoard:
    """What the nodes of a run show, by name."""

    def __init__(self) -> None:
        self._shown: dict[str, list[str]] = {}
        self._said: list[Said] = []

    def show(self, node: str, lines: list[str]) -> None:
        """Replace what a node has under way."""
        self._shown[node] = lines

    def say(self, text: str, style: str | None, once: bool) -> None:
        """Keep a line for the person."""
        self._said.append((text, style, once))

    def read(self) -> tuple[dict[str, list[str]], list[Said]]:
        """Return what is under way by node, and the lines since the last time."""
        said, self._said = self._said, []
        return self._shown, said


@dataclass(frozen=True)
class NodeRelay:
    """Tells the board what one node's driver shows."""

    board: Any
    node: str

    def say(self, text: str, style: str | None, once: bool) -> None:
        """Hand a line on."""
        self.board.say.remote(text, style, once)

    def show(self, lines: Sequence[str]) -> None:
        """Hand lines on."""
        self.board.show.remote(self.node, list(lines))

    def close(self) -> None:
        """Wait until the board has all that was handed on."""
        ray.get(self.board.show.remote(self.node, []))


def start_beside(actor: type, *arguments: Any) -> Any:
    """Start an actor on this process's own machine; it takes nothing, and is started again where it is lost."""
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": _RETRIES}
    return cast(Any, ray.remote(scheduling_strategy=beside_this_process(), **options)(actor)).remote(*arguments)


def beside_this_process() -> NodeAffinitySchedulingStrategy:
    """Place a task or an actor on this process's own machine."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
