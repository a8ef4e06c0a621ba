"""Stage `train`: hand runs to the engine.

Inputs `model`, `pack`; `teacher` to distil, `guide` to mask in-batch negatives, `corpus` to evaluate meanwhile.
Checkpoints lie at `<root>/checkpoints/<stage>-<hash>/`, outside the draft, so an interrupted run goes on where it
stopped when the same artifact is asked for again. Evaluations beside a training become `evaluations.jsonl`, one JSON
object each: `step` (updates made), `mean`, `tasks`, `failed`, or the `reason` why there is nothing; `trained`, the
steps that training had done when it began and when it ended; `seconds`.

One worker group trains consecutive runs, because starting a group costs about 20 seconds. A group that loses a worker
is started anew (Ray Train's failure policy) and each run goes on from its own last checkpoint; a run that diverged is
not tried again, for it would diverge again. `train_as_worker` is what each process of the group does.
"""

import hashlib
import json
import os
import posixpath
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import ray
import ray.train
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig

from polyglossa.artifact import Artifact, ArtifactKey, Draft, clear, open_storage, read_json
from polyglossa.engine.checkpoints.checkpoint_index import LatestSteps
from polyglossa.engine.online_evaluation import Evaluations, Evaluator, read_evaluations
from polyglossa.engine.train_run import SUMMARY, Compute, TrainRun
from polyglossa.errors import TrainingError
from polyglossa.recipe.placement import StagePlacement, TrainPlacement
from polyglossa.recipe.sections.train import TrainConfig
from polyglossa.runtime.progress_board import start_progress_board
from polyglossa.train.feed import StepDataConfig, placeholder_datasets
from polyglossa.train.group_spec import Group
from polyglossa.train.online_evaluation_ray import start_evaluations
from polyglossa.train.plan import Job, plan_job
from polyglossa.train.watch import explain_failure, watch_group

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

    from polyglossa.engine.backends.backend import TrainingBackend
    from polyglossa.engine.loop import Callback

STAGE = "train"
REVISION = 3

# oneDNN keeps a kernel and its buffers for each shape it has met, 1,024 by default: over a gigabyte of a CPU worker.
_KERNELS_KEPT = "24"

EvaluateModel = Callable[[TrainConfig, Mapping[str, Artifact], str, str, str], Mapping[str, Any]]
"""(config, inputs, revision, model directory, folder for its own files) → scores, as `online_evaluation.Evaluate`."""


def run(config: TrainConfig, inputs: Mapping[str, Artifact], draft: Draft, placement: TrainPlacement) -> None:
    """Train one model."""
    run_many([(config, inputs, draft)], placement)


def run_many(
    jobs: Sequence[Job],
    placement: TrainPlacement,
    evaluate: EvaluateModel | None = None,
    beside: StagePlacement | None = None,
) -> None:
    """Train models that do not need each other, one after another in one worker group.

    Args:
        jobs: what is trained.
        placement: of the training.
        evaluate: evaluates models beside the training; None evaluates none.
        beside: what that takes.

    Raises:
        DataError: a source of the recipe is not in the pack, or nothing can be trained on.
        TrainingError: a run diverged or its workers kept failing.
    """
    runs = [plan_job(job, evaluated=evaluate is not None) for job in jobs]
    evaluator = None
    if evaluate is not None:
        by_name = {planned.name: job for planned, job in zip(runs, jobs, strict=True)}
        evaluator = Evaluator(partial(_evaluate, evaluate, by_name), beside or StagePlacement())
    fit(runs, placement, posixpath.dirname(runs[0].checkpoint_uri), evaluator)
    for planned, (config, inputs, draft) in zip(runs, jobs, strict=True):
        summary = read_json(posixpath.join(planned.output_uri, SUMMARY))
        draft.precision = summary.pop("precision")
        draft.count(**summary, world=max(1, placement.workers))
        if planned.evaluate_every is not None:
            _keep_evaluations(planned, config, inputs, draft)
        clear(planned.checkpoint_uri)


def fit(
    runs: Sequence[TrainRun], placement: TrainPlacement, storage: str, evaluator: Evaluator | None = None
) -> ray.train.Result | None:
    """Train runs one after another in one worker group; Ray is initialised.

    Args:
        runs: what is trained; results lie under each run's `output_uri`.
        placement: workers, ZeRO stage, memory and failure settings.
        storage: folder for Ray Train's own notes, shared by all nodes; cleared afterwards.
        evaluator: evaluates models beside the training; None where no run is evaluated.

    Returns:
        What Ray Train knows of the group: the last report's metrics; None where there is no group.

    Raises:
        TrainingError: a run diverged, or the worker group failed more often than allowed.
    """
    evaluations = start_evaluations(runs, placement, evaluator)
    result = None
    try:
        if placement.workers == 0:
            from polyglossa.train.in_process import fit_in_process

            fit_in_process(runs, placement, evaluations)
        else:
            result = _fit_group(runs, placement, storage, evaluations)
        evaluations.wait()
    except BaseException:
        evaluations.abandon()
        raise
    return result


def _fit_group(
    runs: Sequence[TrainRun], placement: TrainPlacement, storage: str, evaluations: Evaluations
) -> ray.train.Result:
    board = start_progress_board()
    notes = posixpath.join(storage, f"ray-train-{_digest(runs)}")
    clear(notes)  # a killed driver's: Ray Train would go on from them, and not from our checkpoints
    trainer = _trainer(runs, placement, notes, board)
    ended: list[ray.train.Result | BaseException] = []
    # In a thread of its own Ray Train leaves SIGINT alone: Ctrl-C reaches the driver, which takes Ray down with it.
    fitting = threading.Thread(target=_fit, args=(trainer, ended), daemon=True)
    fitting.start()
    try:
        watch_group(runs, board, fitting, evaluations)
        stopped = ray.get(board.read.remote())[1]
    finally:
        ray.kill(board)
        clear(notes)
    if stopped:
        raise TrainingError(stopped)
    (end,) = ended
    if isinstance(end, BaseException):
        raise explain_failure(end) from end
    unfinished = [run.name for run in runs if not run.finished]
    if unfinished:
        raise TrainingError(f"{', '.join(unfinished)}: training was aborted. Start again: it resumes by itself.")
    return end


def _digest(runs: Sequence[TrainRun]) -> str:
    """Name a group by what it trains, so that whoever takes its work up finds what was left."""
    places = "\n".join(run.checkpoint_uri for run in runs)
    return hashlib.blake2b(places.encode(), digest_size=8).hexdigest()


def _trainer(runs: Sequence[TrainRun], placement: TrainPlacement, notes: str, board: Any) -> "TorchTrainer":
    from ray.train.torch import TorchConfig, TorchTrainer  # torch, which working out the artifact's key does without

    gpu = placement.gpus > 0
    resources = {"CPU": placement.cpus} | ({"GPU": placement.gpus} if gpu else {})
    return TorchTrainer(
        train_as_worker,
        train_loop_config={"group": Group(tuple(runs), placement, board, several_nodes=len(ray.nodes()) > 1)},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(placement.min_workers, placement.workers) if placement.min_workers else placement.workers,
            use_gpu=gpu,
            resources_per_worker=resources,
            label_selector=placement.labels or None,
        ),
        run_config=RunConfig(
            name=posixpath.basename(notes),
            storage_path=posixpath.dirname(notes),
            failure_config=FailureConfig(max_failures=placement.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
        datasets=placeholder_datasets([run.name for run in runs]),
        dataset_config=StepDataConfig(
            {run.name: run.feed for run in runs}, LatestSteps({run.name: run.checkpoint_uri for run in runs})
        ),
    )


def _fit(trainer: "TorchTrainer", ended: list[ray.train.Result | BaseException]) -> None:
    try:
        ended.append(trainer.fit())
    except BaseException as error:
        ended.append(error)


def train_as_worker(config: Mapping[str, Group]) -> None:
    """Train the runs as one worker of the group; Ray Train hands its `group` over in a dictionary.

    A worker alone loads the engine and a model's code; the driver, which imports this file, does without.
    """
    import torch
    from ray.train.torch import get_device

    from polyglossa.engine.callbacks import DivergedError
    from polyglossa.engine.trainer import train
    from polyglossa.train.group import Feeds, Leaving, reports, stays
    from polyglossa.train.ray_report import report_checkpoint

    group = config["group"]
    placement, board = group.placement, group.board
    torch.set_num_threads(placement.threads)
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS_KEPT)
    context = ray.train.get_context()
    place, world = context.get_world_rank(), context.get_world_size()
    compute = Compute.of(placement, zero=placement.zero, device=str(get_device()) if placement.gpus else "cpu")
    leaving = Leaving() if group.several_nodes else stays
    feeds = Feeds(place, world, compute.device)
    for run, following in zip_longest(group.runs, group.runs[1:]):
        tell, warn, committed, note = reports(board, run.name, rank=place)
        try:
            train(
                run,
                compute,
                partial(feeds.open, run, following),
                tell,
                warn,
                committed,
                leaving,
                watchers=partial(_gauges, run.name, place),
                note=note,
                report=partial(report_checkpoint, run.name, place),
            )
        except DivergedError as error:
            # Every rank meets it at the same step; returning keeps the failure policy from trying again.
            if place == 0:
                ray.get(board.stop.remote(f"{run.name}: {error}"))
            return


def _gauges(name: str, place: int, backend: "TrainingBackend") -> "Sequence[Callback]":
    """Watch a run's steps on the first worker."""
    from polyglossa.train.ray_report import StepGauges

    return [StepGauges(name)] if place == 0 else []


def _evaluate(
    evaluate: EvaluateModel, jobs: Mapping[str, Job], run: TrainRun, step: int, model_uri: str, folder: str
) -> Mapping[str, Any]:
    config, inputs, _ = jobs[run.name]
    return evaluate(config, inputs, f"step-{step}", model_uri, folder)


def _keep_evaluations(planned: TrainRun, config: TrainConfig, inputs: Mapping[str, Artifact], draft: Draft) -> None:
    """Write what evaluations found; children see the model as the one that is trained without them."""
    found = read_evaluations(planned)
    filesystem, path = open_storage(draft.at("evaluations.jsonl"))
    with filesystem.open_output_stream(path) as stream:
        stream.write("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found).encode())
    draft.count(evaluations=len(found), not_evaluated=sum("reason" in one for one in found))
    parents = {role: parent for role, parent in inputs.items() if role != "corpus"}
    plain = config.unevaluated().model_dump(mode="json", by_alias=True)
    draft.identity = ArtifactKey(STAGE, "", REVISION, plain, parents).hash
