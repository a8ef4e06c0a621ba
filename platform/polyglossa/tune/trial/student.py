"""Trains one trial's student in this process, with the engine's own loop, and reports its score at rungs. No Ray here.

A report is asked for with `following()`; between the reports that are asked for the student waits at its rung, so a
trial that is stopped there has not gone on. What it trains is what a run of the trial's recipe trains: same plan,
same model, same backend, on one worker.

    student = Student(assignment)
    while not (report := student.following())["final"]: ...
"""

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs
import torch
import torch.distributed as dist

from polyglossa.artifact import clear, open_artifact, open_storage, write_json
from polyglossa.data.prefetch import PrefetchedBatches
from polyglossa.data.stream import local_batches
from polyglossa.engine.callbacks import DivergedError
from polyglossa.engine.checkpoints.checkpoint import Writer, read_metrics
from polyglossa.engine.checkpoints.checkpoint_index import latest, step_folder
from polyglossa.engine.checkpoints.export import write_model
from polyglossa.engine.loop import Callback, StepRecord
from polyglossa.engine.train_run import Compute, TrainRun
from polyglossa.engine.trainer import train
from polyglossa.model.encoder import Encoder
from polyglossa.recipe.sections.evaluate import RetrievalTask
from polyglossa.recipe.sections.tune import JudgeConfig
from polyglossa.runtime.collectives import world_size
from polyglossa.storage import local_folder
from polyglossa.tune.trial.score import SEARCH, UNSEEN, Score, Scorer

_TIMED_TEXTS = 50

Report = dict[str, Any]


@dataclass(frozen=True)
class Assignment:
    """What a student does, as plain values: it travels to a worker."""

    run: TrainRun
    compute: Compute
    threads: int
    rungs: tuple[int, ...]
    """Steps after which it reports, the last one left out."""
    corpus_uri: str
    sets: Mapping[str, RetrievalTask | None]
    """What it is judged by, as `Judge` takes it."""
    judge: JudgeConfig
    until: int | None
    """Step at which it stops and keeps its checkpoint for others; None goes on to the end."""
    start_uri: str | None
    """Where the checkpoint lies that it goes on from; None starts afresh."""
    kept_uri: str
    """Takes the checkpoint of step `until`."""
    samples_uri: str
    """Takes the score of every query at the end."""
    timed: bool
    """Whether to measure seconds per text."""


class TrialStudent:
    """One trial's training in a thread, and its reports."""

    def __init__(self, assignment: Assignment) -> None:
        """Start to train.

        Args:
            assignment: what.
        """
        torch.set_num_threads(assignment.threads)
        self._assignment = assignment
        self._scorer: Scorer | None = None
        self._reports: queue.Queue[Report | BaseException] = queue.Queue()
        self._go = threading.Semaphore(0)
        self._began = time.monotonic()
        threading.Thread(target=self._work, daemon=True).start()

    def following(self) -> Report:
        """Let the student go on and return its next report.

        Returns:
            {"step", "score", "low", "high", "sets", "final", "seconds"}; the final one has "parameters", "unseen",
            "latency", "terms" (of the loss, at the last step) and "tokens" (trained on), too; one of a run that cannot
            go on has "failed", its reason.
        """
        self._go.release()
        report = self._reports.get()
        if isinstance(report, BaseException):
            raise report
        return report

    def _work(self) -> None:
        self._go.acquire()
        try:
            _join_alone(self._assignment.compute.device)
            run, device = self._assignment.run, self._assignment.compute.device
            self._take_over()
            train(
                run,
                self._assignment.compute,
                lambda start: PrefetchedBatches(local_batches(run.feed, start=start), device=device),
                lambda done, note: None,
                lambda text: None,
                leaving=lambda done: done in self._assignment.rungs,
                watchers=lambda backend: [_AtRungs(self, backend)],
            )
            self._reports.put(self._final())
        except _StretchDone:
            self._reports.put({**self._said(self._rung, self._score), "final": True})
        except DivergedError as error:
            self._reports.put({"step": 0, "score": 0.0, "failed": str(error), "final": True})
        except BaseException as error:
            self._reports.put(error)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Steps after which it reports."""
        return self._assignment.rungs

    def at_rung(self, step: int, backend: Any) -> None:
        """Report the score of the weights as they are, and wait until asked on."""
        folder = f"{self._assignment.run.output_uri}/rung"
        write_model(self._assignment.run, backend, folder)
        with local_folder(folder) as path:
            encoder = self._load(path)
            _check_numbers(encoder, step)
            scores = self._open_scorer().scores(encoder, instructed=self._instructed(encoder), part=SEARCH)
        clear(folder)
        self._rung, self._score = step, self._open_scorer().summary(scores)
        if step == self._assignment.until:
            writer = Writer(self._assignment.kept_uri, keep=1)
            writer.save(step, backend)
            writer.wait()
            writer.close()
            raise _StretchDone
        self._reports.put({**self._said(step, self._score), "final": False})
        self._go.acquire()

    def _take_over(self) -> None:
        """Go on from another trial's checkpoint, unless this one has got further before it died."""
        given, own = self._assignment.start_uri, self._assignment.run.checkpoint_uri
        if given is not None and not latest(own):
            step = latest(given)
            with local_folder(step_folder(given, step)) as kept:
                filesystem, path = open_storage(step_folder(own, step))
                filesystem.create_dir(path, recursive=True)
                pafs.copy_files(kept, path, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=filesystem)

    def _final(self) -> Report:
        run, judge = self._assignment.run, self._open_scorer()
        with local_folder(f"{run.output_uri}/model") as path:
            encoder = self._load(path)
            parts = {
                part: judge.scores(encoder, instructed=self._instructed(encoder), part=part)
                for part in (SEARCH, UNSEEN)
            }
            report = self._said(run.total_steps, judge.summary(parts[SEARCH]))
            report["parameters"] = sum(weight.numel() for weight in encoder.backbone.parameters())
            if self._assignment.timed:
                report["latency"] = _seconds_per_text(encoder)
        records = read_metrics(run.checkpoint_uri)
        report |= {"terms": records[-1]["terms"], "tokens": sum(record["tokens"] for record in records)}
        if parts[UNSEEN]:
            unseen = judge.summary(parts[UNSEEN])
            report |= {"unseen": unseen.mean, "unseen_low": unseen.low, "unseen_high": unseen.high}
        write_json(self._assignment.samples_uri, parts)
        return {**report, "final": True}

    def _said(self, step: int, score: Score) -> Report:
        return {
            "step": step,
            "score": score.mean,
            "low": score.low,
            "high": score.high,
            "sets": dict(score.by_set),
            "seconds": round(time.monotonic() - self._began, 2),
        }

    def _open_scorer(self) -> Scorer:
        if self._scorer is None:
            given = self._assignment
            self._scorer = Scorer(open_artifact(given.corpus_uri), given.sets, given.judge)
        return self._scorer

    def _load(self, path: str) -> Encoder:
        return Encoder.load(path, device=self._assignment.compute.device)

    def _instructed(self, encoder: Encoder) -> bool:
        """Judge with instructions what learned with them, as the evaluation stage does."""
        return self._assignment.run.stage.instructions or any(encoder.prompts.values())


class _StretchDone(Exception):
    """A stretch has reached its last step and its checkpoint is kept."""


class _AtRungs(Callback):
    """Reports at rungs."""

    def __init__(self, student: TrialStudent, backend: Any) -> None:
        self._student, self._backend = student, backend

    def after_step(self, record: StepRecord) -> None:
        """Report when it is time."""
        if record.step + 1 in self._student.rungs:
            self._student.at_rung(record.step + 1, self._backend)


def _join_alone(device: str) -> None:
    """DeepSpeed asks for a process group, be it of one."""
    if not dist.is_initialized():
        backend = "nccl" if device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    assert world_size() == 1


def _seconds_per_text(encoder: Encoder) -> float:
    """Median seconds that one short text takes, alone."""
    seconds = []
    for number in range(_TIMED_TEXTS):
        began = time.perf_counter()
        encoder.encode([f"a short text, number {number}"])
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[len(seconds) // 2]


def _check_numbers(encoder: Encoder, step: int) -> None:
    """Refuse a model whose states are no numbers: a score of nothing found would pass for a weak trial's.

    Raises:
        DivergedError: they are not.
    """
    if not bool(encoder.embed(["a", "the"]).isfinite().all()):
        raise DivergedError(f"step {step}: the model's states are not finite. Lower training.*.learning_rate.")
