"""Training in the driver's own process: one rank, no worker group, no Ray.

For small runs, where a group's start costs more than the training, and for stepping through with a debugger.

The runs are the same as on a worker group: same plan, same batches, same checkpoints.
"""

from collections.abc import Sequence
from functools import partial

import torch

from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.data.stream import local_batches
from polyglossa.engine.online_evaluation import Evaluations
from polyglossa.engine.train_run import Compute, TrainRun
from polyglossa.engine.trainer import train
from polyglossa.errors import UserError
from polyglossa.recipe.placement import TrainPlacement
from polyglossa.runtime.console import Bar, say, say_once, track


def fit_in_process(runs: Sequence[TrainRun], placement: TrainPlacement, evaluations: Evaluations) -> None:
    """Train runs one after another in this process.

    Args:
        runs: what is trained; results lie under each run's `output_uri`.
        placement: threads, memory and checkpoints; its ZeRO stage must be 0.
        evaluations: learn of checkpoints and of how far runs are.

    Raises:
        UserError: the placement asks for a ZeRO stage, which takes a worker group.
        TrainingError: a run diverged.
    """
    if placement.zero:
        raise UserError(
            f"train.workers: 0 trains in one process and splits nothing; set train.zero: 0, not {placement.zero}."
        )
    torch.set_num_threads(placement.threads)
    compute = Compute.of(placement, zero=None, device=placement.torch_device)
    for run in runs:
        with track(run.name, total=run.total_steps, unit="steps") as bar:
            train(
                run,
                compute,
                partial(_open, run, compute.device),
                partial(_tell, bar, evaluations),
                partial(say, style="yellow"),
                partial(evaluations.committed, run.name),
                note=say_once,
            )
        evaluations.finished(run.name)


def _open(run: TrainRun, device: str, start: int) -> PrefetchedBatches:
    return PrefetchedBatches(local_batches(run.feed, start=start), device=device)


def _tell(bar: Bar, evaluations: Evaluations, done: int, note: str) -> None:
    bar.advance(done - bar.done)
    bar.note(note)
    evaluations.trained(bar.name, done)
