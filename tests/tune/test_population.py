"""Protects population-based training: the worst go on from the best, and a generation waits for the one before it."""

from pathlib import Path
from typing import Any

from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.tune.journal import Journal
from polyglossa.tune.population import stretch, whole_trials
from polyglossa.tune.propose import LATER, Later, Proposal

STEPS = (10, 20, 40)
OWN = {"rate": 0.01, "kind": "a"}
SPACE = {"rate": {"loguniform": [1e-3, 1e-1]}, "kind": {"choice": ["a", "b", "c"]}}


def tune() -> TuneConfig:
    settings = {"space": SPACE, "trials": 8, "searcher": "random", "scheduler": "pbt"}
    return validate(TuneConfig, settings, "tune")


def proposed(journal: Journal, number: int) -> Proposal | Later | None:
    return stretch(tune(), OWN, STEPS, number, journal.trials())


def run(journal: Journal, until: int = 24) -> Journal:
    """Run stretches one after another; the larger the rate, the better."""
    for number in range(len(journal.trials()), until):
        proposal = proposed(journal, number)
        assert isinstance(proposal, Proposal)
        journal.proposed(number, proposal.values, start=proposal.start, until=proposal.until)
        step = STEPS[number // 8]
        report: dict[str, Any] = {"step": step, "score": proposal.values["rate"], "final": True}
        journal.rung(number, report)
        journal.ended(number, "finished")
    return journal


def test_a_generation_waits_for_the_one_before_it_and_the_last_is_the_last(tmp_path: Path) -> None:
    journal = run(Journal(str(tmp_path)), until=7)
    journal.proposed(7, OWN, until=10)
    assert proposed(journal, 8) is LATER
    journal.ended(7, "failed", "lost")
    assert isinstance(proposed(journal, 8), Proposal)
    assert proposed(run(journal), 24) is None


def test_the_worst_quarter_goes_on_from_the_best_quarter_and_others_from_themselves(tmp_path: Path) -> None:
    journal = run(Journal(str(tmp_path)), until=16)
    first, second = journal.trials()[:8], journal.trials()[8:]
    ranked = sorted(first, key=lambda record: record.values["rate"])
    worst, best = {one.number for one in ranked[:2]}, {one.number for one in ranked[-2:]}
    for before, after in zip(first, second, strict=True):
        if before.number in worst:
            assert after.start in best
            assert after.values != first[after.start or 0].values
        else:
            assert (after.start, after.values) == (before.number, before.values)
        assert 1e-3 <= after.values["rate"] <= 1e-1
        assert after.values["kind"] in ("a", "b", "c")


def test_a_failed_member_is_replaced(tmp_path: Path) -> None:
    journal = run(Journal(str(tmp_path)), until=7)
    journal.proposed(7, OWN, until=10)
    journal.ended(7, "failed", "lost")
    proposal = proposed(run(journal, until=15), 15)
    assert isinstance(proposal, Proposal)
    assert proposal.start in range(7)


def test_a_field_that_the_recipe_leaves_unset_is_drawn_when_others_go_on_from_it(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    for number in range(8):
        proposal = stretch(tune(), {"kind": "a"}, STEPS, number, journal.trials())
        assert isinstance(proposal, Proposal)
        journal.proposed(number, proposal.values, until=10)
        journal.rung(number, {"step": 10, "score": 1.0 - number, "final": True})
        journal.ended(number, "finished")
    assert journal.trial(0).values == {"kind": "a"}
    after = [stretch(tune(), {"kind": "a"}, STEPS, number, journal.trials()) for number in range(8, 16)]
    heirs = [one for one in after if isinstance(one, Proposal) and one.start == 0 and set(one.values) == set(SPACE)]
    assert heirs
    assert all(1e-3 <= one.values["rate"] <= 1e-1 for one in heirs)


def test_the_same_journal_gives_the_same_population(tmp_path: Path) -> None:
    whole, cut = run(Journal(str(tmp_path / "a"))), run(Journal(str(tmp_path / "b")), until=11)
    taken_up = run(Journal(str(tmp_path / "b")))
    assert len(cut.trials()) == 11
    assert taken_up.trials() == whole.trials()


def test_a_members_trial_holds_the_reports_of_all_it_descends_from(tmp_path: Path) -> None:
    trials = whole_trials(run(Journal(str(tmp_path))).trials(), 8)
    assert [record.number for record in trials] == list(range(8))
    for record in trials:
        assert [rung["step"] for rung in record.rungs] == list(STEPS)
        assert [rung["final"] for rung in record.rungs] == [False, False, True]
