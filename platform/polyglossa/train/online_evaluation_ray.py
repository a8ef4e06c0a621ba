"""Run online evaluations with Ray: export a checkpoint in a task, and check for spare resources.

The export takes no CPU slot, so it never waits for one that training holds. An evaluation is begun only where the
worker group could lose all its workers and still find room to start anew: resources that it takes could be missed then.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import ray

from polyglossa.engine.online_evaluation import Evaluations, Evaluator
from polyglossa.engine.train_run import TrainRun
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
    chosen = evaluator or Evaluator(_refuse, StagePlacement())
    return Evaluations(
        [run for run in runs if run.evaluate_every is not None],
        chosen.evaluate,
        export=_export,
        aside=partial(_has_spare_resources, placement, chosen.placement),
        tracking=placement.tracking,
    )


def _refuse(run: TrainRun, *_: object) -> Mapping[str, Any]:
    raise AssertionError(f"{run.name} is to be evaluated, and `fit` was given no evaluator")


def _export(run: TrainRun, step: int, uri: str) -> None:
    """Write a checkpoint's model in a process of its own; one that dies with its node is started again."""
    ray.get(ray.remote(_write_model).options(num_cpus=0, max_retries=_RETRIES).remote(run, step, uri))


def _write_model(run: TrainRun, step: int, uri: str) -> None:
    from polyglossa.engine.checkpoints.export import write_checkpoint_model

    write_checkpoint_model(run, step, uri)


def _has_spare_resources(training: TrainPlacement, evaluation: StagePlacement) -> bool:
    """Whether an evaluation finds room that training never needs: nodes of its own, or more than the group takes."""
    if training.labels and evaluation.labels and training.labels != evaluation.labels:
        return True
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and _has_labels(node, training.labels)]
    for kind, taken, needed in (
        ("CPU", training.cpus * training.workers, evaluation.cpus * evaluation.workers),
        ("GPU", training.gpus * training.workers, evaluation.gpus * evaluation.workers),
    ):
        if needed > sum(resources.get(kind, 0.0) for resources in nodes) - taken:
            return False
    return True


def _has_labels(node: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(node["Labels"].get(key) == value for key, value in labels.items())
