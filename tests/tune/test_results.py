"""Protects what a search says it found: winner, Pareto front, importance, table and page."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.tune.journal import TrialRecord
from polyglossa.tune.page.render import render_search
from polyglossa.tune.results import best_of, comparable_step, importance, pareto, table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SPACE = {"training.a.rate": {"uniform": [0.0, 1.0]}, "members.small.prune.layers": {"choice": [1, 2, 3]}}
OWN = {"training.a.rate": 0.5, "members.small.prune.layers": 2}


def tune() -> TuneConfig:
    return validate(TuneConfig, {"space": SPACE, "trials": 20}, "tune")


def report(step: int, score: float, **more: Any) -> dict[str, Any]:
    return {"step": step, "score": score, "low": score - 0.01, "high": score + 0.01, "final": False} | more


def trial(number: int, rate: float, layers: int, *, stopped: bool = False) -> TrialRecord:
    """A score that the rate decides and layers hardly touch."""
    score = 0.5 + 0.4 * rate + 0.001 * layers
    values = {"training.a.rate": rate, "members.small.prune.layers": layers}
    rungs = [report(5, score - 0.2)]
    if not stopped:
        rungs.append(report(10, score, final=True, parameters=1000 * layers))
    return TrialRecord(number, values, rungs, "stopped" if stopped else "finished")


def trials() -> list[TrialRecord]:
    found = [trial(n, (n * 7 % 11) / 11, 1 + n % 3, stopped=n % 2 == 1) for n in range(12)]
    return [*found, TrialRecord(12, {"training.a.rate": 0.1}, [], "failed", "OutOfMemoryError: killed")]


def test_the_best_is_a_finished_trial() -> None:
    assert best_of([trial(0, 0.9, 1, stopped=True), trial(1, 0.2, 1), trial(2, 0.3, 1)]).number == 2  # type: ignore[union-attr]
    assert best_of([trial(0, 0.9, 1, stopped=True)]) is None


def test_the_front_holds_what_no_other_trial_beats_in_score_and_size() -> None:
    assert pareto([trial(0, 0.1, 1), trial(1, 0.5, 2), trial(2, 0.4, 3), trial(3, 0.9, 3)]) == [0, 1, 3]


def test_trials_are_compared_at_the_last_step_that_half_of_them_reached() -> None:
    assert comparable_step(trials()) == 5
    assert comparable_step([trial(n, 0.1 * n, 1) for n in range(6)]) == 10
    assert comparable_step([trial(0, 0.1, 1)]) is None


def test_importance_names_the_parameter_that_decides() -> None:
    shares = importance(tune(), trials(), OWN)
    assert next(iter(shares)) == "training.a.rate"
    assert shares["training.a.rate"] > 0.7
    assert sum(shares.values()) == pytest.approx(1)
    assert importance(tune(), trials()[:2], OWN) == {}


def test_the_table_lists_every_trial_and_why_one_failed() -> None:
    text = table(tune(), trials(), 10, [0])
    assert len([line for line in text.splitlines() if re.match(r"^\d+[*+]? ", line)]) == 13
    assert "10*" in text
    assert "0+" in text
    assert "trial 12: OutOfMemoryError: killed" in text


def test_the_page_stands_alone_and_no_text_breaks_out_of_its_data() -> None:
    found = {"trials": [], "note": "</script><b>"}
    page = render_search(found)
    assert "{{" not in page
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    carried = re.search(r'<script id="search-data" type="application/json">(.*?)</script>', page, re.S)
    assert carried is not None
    assert json.loads(carried.group(1)) == found


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_a_browser_draws_every_picture(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    shown = [
        {"number": one.number, "values": one.values, "state": one.state, "reason": one.reason, "rungs": one.rungs}
        for one in trials()
    ]
    seeds = {"part": "unseen", "seeds": [1, 2], "recipe": [0.5, 0.6], "best": [0.6, 0.7]}
    found = {
        "recipe": "toy", "member": "small", "searcher": "optuna", "scheduler": "asha", "space": SPACE, "own": OWN,
        "trials": shown, "best": 8, "front": pareto(trials()), "importance": importance(tune(), trials(), OWN),
        "comparison": {**seeds, "difference": 0.1, "low": 0.05, "high": 0.15},
        "figures": {"trials": 13, "finished": 6, "stopped": 6, "failed": 1},
    }  # fmt: skip
    page = tmp_path / "tune.html"
    page.write_text(render_search(found), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command = [CHROMIUM, *flags, f"file://{page}"]
    document = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert 'data-ready="yes"' in document
    assert document.count('role="img"') == 3
    assert document.count('class="trial stopped"') == 2 * 6
    assert document.count('class="share"') == 2
    assert len(re.findall(r"<tr[^>]* data-trial=", document)) == 13
    assert "+0.1000" in document
