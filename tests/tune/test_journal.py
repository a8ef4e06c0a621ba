"""Protects searches that are taken up again: the journal alone tells all, and a kill at any moment leaves it whole."""

from pathlib import Path

from polyglossa.tune.journal import Journal


def filled(folder: Path) -> Journal:
    journal = Journal(str(folder))
    journal.proposed(0, {})
    journal.proposed(1, {"a.b": 0.5, "criterion": None})
    journal.rung(1, {"step": 4, "score": 0.25, "final": False})
    journal.rung(0, {"step": 4, "score": 0.5, "final": False})
    journal.ended(1, "stopped")
    journal.rung(0, {"step": 8, "score": 0.75, "final": True})
    journal.ended(0, "finished")
    journal.proposed(2, {"a.b": 0.7})
    return journal


def test_a_journal_read_again_tells_the_same(tmp_path: Path) -> None:
    written, read = filled(tmp_path), Journal(str(tmp_path))
    assert read.trials() == written.trials()
    assert read.events() == written.events()
    assert [event["sequence"] for event in read.events()] == list(range(8))
    assert [(record.number, record.state) for record in read.trials()] == [
        (0, "finished"),
        (1, "stopped"),
        (2, "running"),
    ]
    assert read.trial(0).last == {"step": 8, "score": 0.75, "final": True}
    assert read.trial(1).values == {"a.b": 0.5, "criterion": None}


def test_events_go_on_after_those_that_are_there(tmp_path: Path) -> None:
    filled(tmp_path)
    journal = Journal(str(tmp_path))
    journal.ended(2, "failed", "out of memory")
    assert Journal(str(tmp_path)).trial(2).reason == "out of memory"
    assert journal.events()[-1]["sequence"] == 8


def test_a_report_told_twice_is_kept_once(tmp_path: Path) -> None:
    journal = filled(tmp_path)
    journal.rung(2, {"step": 4, "score": 0.1, "final": False})
    journal.rung(2, {"step": 4, "score": 0.9, "final": False})
    journal.ended(2, "failed", "lost")
    journal.ended(2, "finished")
    assert [rung["score"] for rung in journal.trial(2).rungs] == [0.1]
    assert journal.trial(2).state == "failed"


def test_a_half_written_file_is_passed_over(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "trial-00003.jsonl.part").write_text('{"sequence": 9, "ev')
    assert len(Journal(str(tmp_path)).trials()) == 3
