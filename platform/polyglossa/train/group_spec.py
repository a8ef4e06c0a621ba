"""What each worker of a group is told. No torch: Ray Train's controller reads it too, and does without."""

from dataclasses import dataclass
from typing import Any

from polyglossa.engine.train_run import TrainRun
from polyglossa.recipe.placement import TrainPlacement


@dataclass(frozen=True)
class Group:
    """Runs that one worker group trains, one after another."""

    runs: tuple[TrainRun, ...]
    placement: TrainPlacement
    board: Any
    """The actor that progress is reported to."""
    several_nodes: bool
    """Whether a node may be taken away while others stay."""
