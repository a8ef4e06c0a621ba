"""What Ray gives to evaluations beside a training: a task that exports a checkpoint, and a look at what is spare.

The export takes no CPU slot, so it never waits for one that training holds. An evaluation is begun only where the
worker group could lose all its workers and still find room to start anew: resources that it takes could be missed then.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import ray

from polyglossa.engine.evaluations import Evaluations, Evaluator
from polyglossa.engine.export import write_checkpoint_model
from polyglossa.engine.runs import TrainRun
from polyglossa.recipe.placement import StagePlacement, TrainPlacement

_RETRIES = 2


def start_evaluations(
    runs: Sequence[TrainRun], placement: TrainPlacement, evaluator: Evaluator | None = None
) -> Evaluations:
    """Make ready to evaluate those of the runs that ask for it.

    Args:
        runs: what is trained.
        placement: what training takes.
        evaluator: judges models; None where no run asks.
    """
    judging = evaluator or Evaluator(_nobody, StagePlacement())
    return Evaluations(
        [run for run in runs if run.evaluate_every is not None],
        judging.judge,
        export=_export,
        aside=partial(_aside, placement, judging.placement),
        tracking=placement.tracking,
    )


def _nobody(run: TrainRun, *_: object) -> Mapping[str, Any]:
    raise AssertionError(f"{run.name} is to be evaluated, and `fit` was given no evaluator")


def _export(run: TrainRun, step: int, uri: str) -> None:
    """Write a checkpoint's model in a process of its own; one that dies with its node is started again."""
    ray.get(ray.remote(write_checkpoint_model).options(num_cpus=0, max_retries=_RETRIES).remote(run, step, uri))


def _aside(training: TrainPlacement, evaluation: StagePlacement) -> bool:
    """Whether an evaluation finds room that training never needs: nodes of its own, or more than the group takes."""
    if training.labels and evaluation.labels and training.labels != evaluation.labels:
        return True
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and _labelled(node, training.labels)]
    for kind, taken, needed in (
        ("CPU", training.cpus * training.workers, evaluation.cpus * evaluation.workers),
        ("GPU", training.gpus * training.workers, evaluation.gpus * evaluation.workers),
    ):
        if needed > sum(resources.get(kind, 0.0) for resources in nodes) - taken:
            return False
    return True


def _labelled(node: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(node["Labels"].get(key) == value for key, value in labels.items())
