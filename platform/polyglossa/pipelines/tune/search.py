"""Ray Tune's part of a search: who runs which trial when, who is stopped, who is tried again.

A trial is a driver function that takes no CPU: it asks the maker for what its recipe needs beyond what is shared,
starts its student on the CPUs, GPUs and nodes of the profile, and passes the student's reports on. The journal is the
only state: Ray Tune's own notes, which are pickles, are never read and are removed at the end. A search taken up again
is a new one whose searcher and scheduler are told the journal.
"""

import os
import posixpath
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from polyglossa.artifact import clear
from polyglossa.errors import PolyglossaError, RecipeError, TrainingError
from polyglossa.pipelines.tune.journal import Journal, TrialRecord
from polyglossa.pipelines.tune.maker import Maker
from polyglossa.pipelines.tune.propose import Observation, Values
from polyglossa.pipelines.tune.student import Assignment, Report, Student
from polyglossa.progress import Bar, say, track
from polyglossa.recipe.placement import TunePlacement
from polyglossa.recipe.tune import TuneConfig

Propose = Callable[[int, list[Observation]], Values | None]
_TIME, _METRIC, _MODE = "step", "score", "max"


@dataclass(frozen=True)
class Search:
    """One search, ready to run."""

    config: TuneConfig
    placement: TunePlacement
    folder: str
    """Holds the trials' folders and, meanwhile, Ray Tune's notes."""
    check: Callable[[Values], None]
    """Raises RecipeError where values do not give a valid recipe."""
    scheduler: str
    """`none`, `asha` or `pbt`."""
    most_steps: int
    """Steps of the longest trial."""
    first_rung: int


def run_search(search: Search, journal: Journal, maker: Any, propose: Propose, *, trials: int | None) -> None:
    """Run trials until there is nothing left to propose; trials that ended before are not run again.

    Args:
        search: how.
        journal: what is known, and where everything is noted.
        maker: the actor that makes what trials need.
        propose: (number, observations) → values, or None when all are proposed.
        trials: how many there are, where that is known.

    Raises:
        TrainingError: the search itself broke, not a trial.
    """
    scheduler = scheduler_of(search, journal)
    name = "ray-tune"
    with track("tune", total=trials, unit="trials") as bar:
        bar.advance(sum(record.state != "running" for record in journal.trials()))
        tuner = tune.Tuner(
            # One byte of memory stands for "nothing": a trial's student takes what the profile gives, after its
            # maker is done, and Ray Tune refuses a trial that needs no resource at all.
            tune.with_resources(
                tune.with_parameters(_drive, maker=maker, placement=search.placement, first=search.first_rung),
                {"memory": 1},
            ),
            tune_config=tune.TuneConfig(
                search_alg=_Proposals(search, journal, propose),
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=search.placement.workers,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=search.folder,
                failure_config=tune.FailureConfig(max_failures=search.placement.max_failures),
                callbacks=[_Notes(search, journal, bar)],
                verbose=0,
            ),
        )
        _fit(tuner)
    clear(posixpath.join(search.folder, name))


def _fit(tuner: Any) -> None:
    """Fit in a thread: there Ray Tune leaves SIGINT alone, and Ctrl-C ends the driver and Ray with it."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    failure: list[BaseException] = []

    def fit() -> None:
        try:
            tuner.fit()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.5)
    if failure:
        raise TrainingError(f"tune: the search broke: {reason_of(failure[0])}. The log has the whole story.")


def _drive(config: dict[str, Any], maker: Any, placement: TunePlacement, first: int) -> None:
    """One trial. What would happen again on a retry is reported, not raised."""
    try:
        asked = maker.assignment.remote(config["number"], config["values"], config["known"], first)
        assignment: Assignment = result(asked)
    except PolyglossaError as error:
        tune.report({"step": 0, "score": 0.0, "failed": str(error), "final": True})
        return
    student: Any = (
        ray.remote(Student)
        .options(num_cpus=placement.cpus, num_gpus=placement.gpus, label_selector=placement.labels or None)
        .remote(assignment)
    )
    final = False
    while not final:
        report: Report = ray.get(student.following.remote())
        final = report["final"]
        tune.report(report)


class _Proposals(Searcher):
    """Hands out trials: first those that a kill interrupted, then new ones, each noted before it starts."""

    def __init__(self, search: Search, journal: Journal, propose: Propose) -> None:
        super().__init__(metric=_METRIC, mode=_MODE)
        self._search, self._journal, self._propose = search, journal, propose
        self._interrupted = [record for record in journal.trials() if record.state == "running"]
        self._number = len(journal.trials())

    def suggest(self, trial_id: str) -> Any:
        if self._interrupted:
            return _config(self._interrupted.pop(0))
        while (values := self._propose(self._number, observations(self._search.config, self._journal))) is not None:
            number, self._number = self._number, self._number + 1
            self._journal.proposed(number, values)
            try:
                self._search.check(values)
            except RecipeError as error:
                self._journal.ended(number, "failed", str(error))
                continue
            return _config(self._journal.trial(number))
        return self.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The journal is told by `_Notes`."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it."""


def _config(record: TrialRecord) -> dict[str, Any]:
    known = [rung["step"] for rung in record.rungs]
    return {"number": record.number, "values": record.values, "known": known}


class _Notes(tune.Callback):
    """Puts down what happens to trials, and says it."""

    def __init__(self, search: Search, journal: Journal, bar: Bar) -> None:
        self._search, self._journal, self._bar = search, journal, bar

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._journal.rung(trial.config["number"], {key: result[key] for key in _REPORTED if key in result})

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._end(trial.config["number"], *ending(self._journal.trial(trial.config["number"])))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._end(trial.config["number"], "failed", reason_of(trial.get_error()))

    def _end(self, number: int, state: str, reason: str | None) -> None:
        self._journal.ended(number, state, reason)
        clear(posixpath.join(trial_folder(self._search.folder, number), "work"))
        record = self._journal.trial(number)
        score = f"{record.last['score']:.4f} after {record.last['step']} steps" if record.last else ""
        said = ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in record.values.items())
        say(f"  trial {number:<4} {state:<9} {reason or score}   {said or 'the recipe as it is'}", style="dim")
        self._bar.advance()


_REPORTED = (
    "step", "score", "low", "high", "sets", "final", "seconds", "parameters", "latency", "unseen", "unseen_low",
    "unseen_high", "failed",
)  # fmt: skip


def ending(record: TrialRecord) -> tuple[str, str | None]:
    """Tell how a trial that goes on no more has ended, by its last report."""
    last = record.last or {}
    if "failed" in last:
        return "failed", last["failed"]
    return ("finished", None) if last.get("final") else ("stopped", None)


def observations(config: TuneConfig, journal: Journal) -> list[Observation]:
    """What the journal knows, as a searcher reads it."""
    names = {"quality": "score", "size": "parameters", "latency": "latency"}
    return [
        Observation(
            values=record.values,
            state=record.state,
            rungs={rung["step"]: rung["score"] for rung in record.rungs},
            objectives=tuple(float(record.last[names[name]]) for name in config.objectives)
            if record.state == "finished" and record.last
            else (),
        )
        for record in journal.trials()
    ]


@dataclass(frozen=True)
class _Known:
    """Stands for a trial of an earlier search; schedulers ask a trial for no more than its name."""

    trial_id: str


def scheduler_of(search: Search, journal: Journal) -> TrialScheduler:
    """Make the scheduler and tell it every rung of the journal, in the order in which they came.

    A trial that it would have stopped just when the search was killed is noted as stopped.
    """
    if search.scheduler != "asha":
        return FIFOScheduler()
    scheduler = ASHAScheduler(
        time_attr=_TIME,
        metric=_METRIC,
        mode=_MODE,
        max_t=search.most_steps,
        grace_period=min(search.first_rung, search.most_steps),
        reduction_factor=search.config.rungs.factor,
    )
    known: dict[int, _Known] = {}
    for event in journal.events():
        number = event["trial"]
        if event["event"] != "rung" or "failed" in event:
            continue
        if number not in known:
            known[number] = _Known(f"known-{number}")
            scheduler.on_trial_add(None, known[number])
        decision = scheduler.on_trial_result(None, known[number], event)
        if event["final"] or decision == TrialScheduler.STOP:
            journal.ended(number, *ending(journal.trial(number)))
    return scheduler


def reason_of(error: BaseException | None) -> str:
    """Say an error of a trial in one line, by its innermost cause."""
    while error is not None and (inner := getattr(error, "cause", None) or error.__cause__) is not None:
        error = inner
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[0][:300]}" if not isinstance(error, PolyglossaError) else str(error)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def result(reference: Any) -> Any:
    """Wait for a task; an error that was raised on purpose comes out as itself, without the worker's stack."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PolyglossaError):
            raise error.cause from None
        raise


def trial_folder(folder: str, number: int) -> str:
    """Where a trial's files lie."""
    return posixpath.join(folder, f"{number:05d}")


def make_maker(arguments: Mapping[str, Any]) -> Any:
    """Start the actor that makes what trials need; it takes no CPU, the stages it runs do."""
    return ray.remote(Maker).options(num_cpus=0, max_restarts=-1, max_task_retries=2).remote(**arguments)
