"""Runs training runs to their end or up to a step, in real processes that meet over gloo; started by the tests.

python -m engine.resumes RANK WORLD FOLDER          # FOLDER/jobs.json → FOLDER/<name>/output/model
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist

from engine.worlds import join, launch
from polyglossa.artifact import Artifact
from polyglossa.data.batch import RankBatch
from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.data.stream import FeedSpec, local_batches
from polyglossa.engine.stage_spec import StageSpec
from polyglossa.engine.train_run import Compute, TrainRun
from polyglossa.engine.trainer import train
from train.toys import make_model, make_pack, stage

STEPS, SAVED = 6, 3


class StopHere(Exception):
    """The run is cut."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One start of a run."""

    name: str
    zero: int | None = None
    stop: int | None = None
    """Step at which it is cut; None runs to the end."""
    dtype: str = "float32"
    checkpoints: str | None = None
    """Whose checkpoints it goes on from; None means its own."""


def inputs(folder: Path) -> tuple[Artifact, Artifact]:
    return make_model(str(folder)), make_pack(str(folder))


def run_job(job: Job, rank: int, world: int, folder: Path) -> None:
    """Run one job as one rank."""
    model, pack = inputs(folder)
    settings = stage(dtype=job.dtype, steps=STEPS, weight_decay=0.1)
    run = TrainRun(
        name=job.name,
        model_uri=model.at("model"),
        output_uri=str(folder / job.name / "output"),
        checkpoint_uri=str(folder / (job.checkpoints or job.name) / "checkpoints"),
        stage=StageSpec.of(settings),
        feed=FeedSpec.of_stage(settings, pack.uri),
        total_steps=STEPS,
        width=32,
    )
    compute = Compute(zero=job.zero, resident_tokens=128, checkpoint_steps=SAVED)
    try:
        train(run, compute, partial(_open, run.feed, job.stop, rank, world), lambda done, note: None, print)
    except StopHere:
        dist.barrier()


def _open(spec: FeedSpec, stop: int | None, rank: int, world: int, start: int) -> PrefetchedBatches:
    return PrefetchedBatches(_batches(spec, stop, rank, world, start))


def _batches(spec: FeedSpec, stop: int | None, rank: int, world: int, start: int) -> Iterator[RankBatch]:
    yield from local_batches(spec, rank=rank, world=world, start=start, stop=stop)
    if stop is not None:
        raise StopHere


def run_jobs(jobs: list[Job], world: int, folder: Path) -> None:
    """Run jobs one after another in `world` processes."""
    inputs(folder)
    plain: list[dict[str, Any]] = [dataclasses.asdict(job) for job in jobs]
    (folder / "jobs.json").write_text(json.dumps(plain))
    launch("engine.resumes", world, folder)


def main() -> None:
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    join(rank, world, folder)
    for plain in json.loads((folder / "jobs.json").read_text()):
        run_job(Job(**plain), rank, world, folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
