"""Answer Ray Tune from the journal: the next trial, whether to stop it, how it ended.

The searcher and the scheduler keep no state that matters: both are told the journal when a search is taken up again.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from polyglossa.artifact import clear
from polyglossa.errors import PolyglossaError, RecipeError
from polyglossa.recipe.placement import TunePlacement
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.runtime.console import Bar, say
from polyglossa.tune.journal import Journal, TrialRecord
from polyglossa.tune.propose import Later, Observation, Proposal, Values
from polyglossa.tune.trial.files import trial_files

Propose = Callable[[int, Journal], Proposal | Later | None]
_TIME, _METRIC, _MODE = "step", "score", "max"
_RAISED = re.compile(r"^[\w.]+(?:Error|Exception|Exit|Interrupt)(?:: .*)?$", re.MULTILINE)
"""The line of a traceback that names the error."""


@dataclass(frozen=True)
class Search:
    """One search, ready to run."""

    config: TuneConfig
    placement: TunePlacement
    folder: str
    """Holds the trials' folders and, meanwhile, Ray Tune's notes."""
    check: Callable[[Values], None]
    """Raises RecipeError where values do not give a valid recipe."""
    early_stopping: bool
    """Whether ASHA stops trials."""
    most_steps: int
    """Steps of the longest trial."""
    first_rung: int


class Proposals(Searcher):
    """Hands out trials: first those that a kill interrupted, then new ones, each noted before it starts."""

    def __init__(self, search: Search, journal: Journal, propose: Propose) -> None:
        super().__init__(metric=_METRIC, mode=_MODE)
        self._search, self._journal, self._propose = search, journal, propose
        for record in journal.trials():
            if record.state == "running" and record.last and record.last["final"]:
                journal.ended(record.number, *ending(record))
        self._interrupted = [record for record in journal.trials() if record.state == "running"]
        self._number = len(journal.trials())

    def suggest(self, trial_id: str) -> Any:
        """Give the next trial's number and values."""
        if self._interrupted:
            return _config(self._interrupted.pop(0))
        while (proposal := self._propose(self._number, self._journal)) is not None:
            if isinstance(proposal, Later):
                return None
            number, self._number = self._number, self._number + 1
            self._journal.proposed(number, proposal.values, start=proposal.start, until=proposal.until)
            try:
                self._search.check(proposal.values)
            except RecipeError as error:
                self._journal.ended(number, "failed", str(error))
                continue
            return _config(self._journal.trial(number))
        return self.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The journal is told by `Notes`."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it."""


def _config(record: TrialRecord) -> dict[str, Any]:
    known = [rung["step"] for rung in record.rungs]
    start, until = record.start, record.until
    return {"number": record.number, "values": record.values, "known": known, "start": start, "until": until}


class Notes(tune.Callback):
    """Puts down what happens to trials, and says it."""

    def __init__(self, search: Search, journal: Journal, bar: Bar) -> None:
        self._search, self._journal, self._bar = search, journal, bar

    def __getstate__(self) -> dict[str, Any]:
        """Give Ray Tune nothing to keep: it pickles callbacks for a `Tuner.restore` that is never called."""
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Note a report."""
        self._journal.rung(trial.config["number"], {key: result[key] for key in _REPORTED if key in result})

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Note how a trial ended that did not break."""
        self._end(trial.config["number"], *ending(self._journal.trial(trial.config["number"])))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Note that a trial broke, and has been tried again often enough."""
        self._end(trial.config["number"], "failed", reason_of(trial.get_error()))

    def _end(self, number: int, state: str, reason: str | None) -> None:
        self._journal.ended(number, state, reason)
        clear(trial_files(self._search.folder, number).training)
        record = self._journal.trial(number)
        score = f"{record.last['score']:.4f} after {record.last['step']} steps" if record.last else ""
        said = ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in record.values.items())
        say(f"  trial {number:<4} {state:<9} {reason or score}   {said or 'the recipe as it is'}", style="dim")
        self._bar.advance()


_REPORTED = (
    "step", "score", "low", "high", "sets", "final", "seconds", "parameters", "latency", "unseen", "unseen_low",
    "unseen_high", "terms", "tokens", "failed",
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
    if not search.early_stopping:
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


def reason_of(error: BaseException | str | None) -> str:
    """Say an error of a trial in one line, by its innermost cause.

    Args:
        error: what Ray Tune keeps of it: the error, or the tracebacks of all tries as text.
    """
    while isinstance(inner := getattr(error, "cause", None) or getattr(error, "__cause__", None), BaseException):
        error = inner
    if isinstance(error, PolyglossaError):
        return str(error)
    said = str(error).strip()
    if raised := _RAISED.findall(said):
        return str(raised[-1])[:300]
    return f"{type(error).__name__}: {said.partition(chr(10))[0][:300]}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
