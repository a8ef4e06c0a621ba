"""Protects early stopping: the worse trials stop at rungs, and a search taken up again decides as it would have."""

from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler

from polyglossa.recipe.load import validate
from polyglossa.recipe.placement import TunePlacement
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.tune.journal import Journal
from polyglossa.tune.plan import rung_steps
from polyglossa.tune.trials import Search, ending, scheduler_of

TOTAL, FIRST, FACTOR = 40, 5, 2


class Named:
    """What a scheduler asks of a trial."""

    def __init__(self, number: int) -> None:
        self.trial_id = f"trial-{number}"


def search(*, early_stopping: bool = True) -> Search:
    space = {"a": {"uniform": [0.0, 1.0]}}
    config = validate(TuneConfig, {"space": space, "trials": 12, "rungs": {"first": FIRST, "factor": FACTOR}}, "tune")
    return Search(config, TunePlacement(), "unused", lambda values: None, early_stopping, TOTAL, FIRST)


def learned(quality: float, step: int) -> float:
    """A made-up learning curve: better trials are better all along."""
    return quality * step / (step + 10)


def run(journal: Journal, qualities: list[float], *, stop_at: int | None = None) -> None:
    """Run trials one after another, noting everything as a search does; `stop_at` events is a kill."""
    scheduler: Any = scheduler_of(search(), journal)
    for number, quality in enumerate(qualities):
        if number < len(journal.trials()) and journal.trial(number).state != "running":
            continue
        if number >= len(journal.trials()):
            journal.proposed(number, {"a": quality})
        known = [rung["step"] for rung in journal.trial(number).rungs]
        trial = Named(number) if not known else type("Known", (), {"trial_id": f"known-{number}"})()
        if not known:
            scheduler.on_trial_add(None, trial)
        for step in (*rung_steps(FIRST, FACTOR, TOTAL), TOTAL):
            if step in known:
                continue
            report = {"step": step, "score": learned(quality, step), "final": step == TOTAL}
            decision = scheduler.on_trial_result(None, trial, report)
            journal.rung(number, report)
            if stop_at is not None and len(journal.events()) >= stop_at:
                return
            if decision == TrialScheduler.STOP:
                break
        journal.ended(number, *ending(journal.trial(number)))


QUALITIES = [0.5, 0.7, 0.2, 0.9, 0.1, 0.6, 0.3, 0.95, 0.4, 0.05, 0.8, 0.15]


def states(journal: Journal) -> list[str]:
    return [record.state for record in journal.trials()]


def test_at_least_half_stop_early_and_the_best_does_not(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    run(journal, QUALITIES)
    assert states(journal).count("stopped") >= len(QUALITIES) / 2
    assert states(journal)[QUALITIES.index(max(QUALITIES))] == "finished"
    steps = sum(record.last["step"] for record in journal.trials() if record.last)
    assert steps < 0.6 * TOTAL * len(QUALITIES)


def test_a_search_killed_at_any_event_ends_with_the_same_trials(tmp_path: Path) -> None:
    whole = Journal(str(tmp_path / "whole"))
    run(whole, QUALITIES)
    for events in range(3, len(whole.events()), 4):
        folder = str(tmp_path / str(events))
        run(Journal(folder), QUALITIES, stop_at=events)
        taken_up = Journal(folder)
        run(taken_up, QUALITIES)
        assert states(taken_up) == states(whole), events
        assert [record.last for record in taken_up.trials()] == [record.last for record in whole.trials()]


def test_without_a_scheduler_nothing_stops(tmp_path: Path) -> None:
    scheduler: Any = scheduler_of(search(early_stopping=False), Journal(str(tmp_path)))
    decision = scheduler.on_trial_result(None, Named(0), {"step": 5, "score": 0.0, "final": False})
    assert decision == TrialScheduler.CONTINUE
