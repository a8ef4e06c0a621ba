"""Ray Tune's part of a search: who runs which trial when, who is stopped, who is tried again.

The journal is the only state: Ray Tune's own notes, which are pickles, are never read and are removed at the end. A
search taken up again is a new one whose searcher and scheduler are told the journal.
"""

import os
import posixpath
import threading
from typing import Any

import ray
from ray import tune

from polyglossa.artifact import clear
from polyglossa.errors import TrainingError
from polyglossa.recipe import Profile
from polyglossa.recipe.trial import SearchConfig
from polyglossa.runtime.console import track
from polyglossa.runtime.ray_tasks import results
from polyglossa.tune.journal import Journal
from polyglossa.tune.propose import Values
from polyglossa.tune.trial.maker import Maker
from polyglossa.tune.trial.process import drive
from polyglossa.tune.trials import Notes, Proposals, Propose, Search, reason_of, scheduler_of


class MakerProcess:
    """The maker's actor; it takes no CPU, the stages it runs do."""

    def __init__(self, config: SearchConfig, profile: Profile, root: str) -> None:
        """Start it; see `maker.Maker`."""
        # A lost maker is started anew, and finds what it had made.
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 2}
        self.actor: Any = ray.remote(Maker).options(**options).remote(config, profile, root)

    def total_steps(self, values: Values) -> int:
        """Say how many steps a trial takes.

        Raises:
            PolyglossaError: a stage refuses what the trial needs.
        """
        return int(results([self.actor.total_steps.remote(values)])[0])

    def close(self) -> None:
        """End it."""
        ray.kill(self.actor)


def run_search(search: Search, journal: Journal, maker: MakerProcess, propose: Propose, *, trials: int | None) -> None:
    """Run trials until there is nothing left to propose; trials that ended before are not run again.

    Args:
        search: how.
        journal: what is known, and where everything is noted.
        maker: makes what trials need.
        propose: (number, journal) → what that trial tries, or None when all are proposed.
        trials: how many there are, where that is known.

    Raises:
        TrainingError: the search itself broke, not a trial.
    """
    scheduler = scheduler_of(search, journal)
    name = "ray-tune"
    common = {"folder": search.folder, "first": search.first_rung}
    with track("tune", total=trials, unit="trials") as bar:
        bar.advance(sum(record.state != "running" for record in journal.trials()))
        tuner = tune.Tuner(
            # One byte of memory stands for "nothing": a trial's student takes what the profile gives, after its
            # maker is done, and Ray Tune refuses a trial that needs no resource at all.
            tune.with_resources(
                tune.with_parameters(drive, maker=maker.actor, placement=search.placement, common=common), {"memory": 1}
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
