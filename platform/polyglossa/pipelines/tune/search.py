"""Ray Tune's part of a search: who runs which trial when, who is stopped, who is tried again.

A trial is a driver function that takes no CPU: it asks the maker for what its recipe needs beyond what is shared,
starts its student on the CPUs, GPUs and nodes of the profile, and passes the student's reports on. The journal is the
only state: Ray Tune's own notes, which are pickles, are never read and are removed at the end. A search taken up again
is a new one whose searcher and scheduler are told the journal.
"""

import os
import posixpath
import threading
from collections.abc import Mapping
from typing import Any

import ray
from ray import tune

from polyglossa.artifact import clear
from polyglossa.errors import PolyglossaError, TrainingError
from polyglossa.pipelines.tune.journal import Journal
from polyglossa.pipelines.tune.maker import Maker
from polyglossa.pipelines.tune.student import Assignment, Report, Student
from polyglossa.pipelines.tune.trials import Notes, Proposals, Propose, Search, reason_of, scheduler_of
from polyglossa.progress import track
from polyglossa.recipe.placement import TunePlacement


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
                search_alg=Proposals(search, journal, propose),
                scheduler=scheduler,
                num_samples=-1,
                max_concurrent_trials=search.placement.workers,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=search.folder,
                failure_config=tune.FailureConfig(max_failures=search.placement.max_failures),
                callbacks=[Notes(search, journal, bar)],
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
        .options(
            num_cpus=placement.cpus,
            num_gpus=placement.gpus,
            label_selector=placement.labels or None,
            scheduling_strategy="DEFAULT",  # not within the trial's own placement group, which holds nothing
        )
        .remote(assignment)
    )
    final = False
    while not final:
        report: Report = ray.get(student.following.remote())
        final = report["final"]
        tune.report(report)


def result(reference: Any) -> Any:
    """Wait for a task; an error that was raised on purpose comes out as itself, without the worker's stack."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PolyglossaError):
            raise error.cause from None
        raise


def make_maker(arguments: Mapping[str, Any]) -> Any:
    """Start the actor that makes what trials need; it takes no CPU, the stages it runs do."""
    return ray.remote(Maker).options(num_cpus=0, max_restarts=-1, max_task_retries=2).remote(**arguments)
