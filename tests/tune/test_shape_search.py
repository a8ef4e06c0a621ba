"""A search tries shapes that use a budget, of every depth, and says what it cannot do before it starts anything.

Its trials are those of `tune`: trained as the recipe says, ranked whatever order they ended in, taken up again.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polyglossa.errors import RecipeError
from polyglossa.recipe import load_recipe
from polyglossa.recipe.load import dump_yaml
from polyglossa.recipe.sections.backbone import Shape
from polyglossa.tune import shape_candidates
from polyglossa.tune.budget import Budget
from polyglossa.tune.shape_candidates import candidates, choose_within, milliseconds, milliseconds_once
from polyglossa.tune.shape_search import rank, shape_search, table
from tune.test_interrupted import PATIENCE_SECONDS, ROOT, journal, wait_for_ended
from tune.test_results import report
from tune.toy_search import PROFILE, make_shared, recipe_data

PARENT = Shape(hidden=256, mlp=512, layers=3, heads=4, kv_heads=2, head_dim=64)
QWEN = Shape(hidden=1024, mlp=3072, layers=28, heads=16, kv_heads=8)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("100M", Budget(parameters=100_000_000)),
        ("0.6B", Budget(parameters=600_000_000)),
        ("850k", Budget(parameters=850_000)),
        ("557952", Budget(parameters=557_952)),
        ("4.5ms", Budget(milliseconds=4.5)),
    ],
)
def test_budgets_are_parameters_or_time(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["much", "", "-5M", "0", "ms"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="write parameters as 100M or 850K, or time per text as 5ms"):
        Budget.parse(text)


def test_candidates_stay_within_the_parent_and_keep_its_heads() -> None:
    shapes = candidates(PARENT)
    assert PARENT in shapes
    assert len(set(map(str, shapes))) == len(shapes)
    assert all(shape.hidden <= 256 and shape.mlp <= 512 and 1 <= shape.layers <= 3 for shape in shapes)
    assert {(shape.heads, shape.kv_heads, shape.head_dim) for shape in shapes} == {(4, 2, 64)}
    assert all(shape.hidden % 8 == shape.mlp % 8 == 0 for shape in shapes)


@pytest.mark.parametrize(("parent", "vocabulary", "limit"), [(PARENT, 2048, 600_000), (QWEN, 151_936, 100_000_000)])
def test_trials_spend_most_of_the_budget_and_cover_depths(parent: Shape, vocabulary: int, limit: int) -> None:
    chosen = choose_within(candidates(parent), lambda shape: shape.parameters(vocabulary), limit, 6)
    assert 1 < len(chosen) <= 6
    assert all(0.8 * limit <= cost <= limit for _, cost in chosen)
    assert all(cost == shape.parameters(vocabulary) for shape, cost in chosen)
    assert len({shape.layers for shape, _ in chosen}) > 1


def test_a_budget_that_nothing_meets_is_refused_with_what_shapes_cost() -> None:
    with pytest.raises(RecipeError, match="no shape costs 8 to 10; they cost"):
        choose_within(candidates(PARENT), lambda shape: shape.parameters(2048), 10, 6)


def test_a_deeper_model_takes_longer() -> None:
    shallow, deep = (Shape(hidden=64, mlp=128, layers=layers, heads=2, kv_heads=1, head_dim=32) for layers in (1, 8))
    assert 0 < milliseconds(shallow) < milliseconds(deep)


def test_times_are_measured_once_so_that_a_search_taken_up_again_tries_the_same_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter(range(10_000))
    monkeypatch.setattr(shape_candidates, "milliseconds", lambda shape: float(next(taken)))
    first = milliseconds_once(str(tmp_path), PARENT)
    assert list(first) == candidates(PARENT)
    assert milliseconds_once(str(tmp_path), PARENT) == first


def _trial(number: int, score: float | None) -> dict[str, Any]:
    last = report(4, score or 0.0, final=True, sets={"toy": score}, parameters=1000 + number)
    rungs = [last] if score is not None else []
    state, reason = ("finished", None) if score is not None else ("failed", "out of memory")
    return {"number": number, "state": state, "reason": reason, "rungs": rungs}


def test_shapes_are_ranked_by_score_whatever_order_their_trials_came_in() -> None:
    found = [(shape, float(1000 + place)) for place, shape in enumerate(candidates(PARENT)[:4])]
    trials = [_trial(0, 0.5), _trial(1, None), _trial(2, 0.7), _trial(3, 0.5)]
    ranked = rank(found, trials)
    assert [one.trial["number"] for one in ranked] == [2, 0, 3, 1]
    assert rank(found, trials[::-1]) == ranked
    text = table(ranked)
    assert f"layers: {found[2][0].layers}}}" in text
    assert "out of memory" in text


@pytest.mark.slow
def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path) -> None:
    """Its students learn as the recipe says; a learned temperature was once read off the states and was 1."""
    run = _start(tmp_path, trials=3)
    wait_for_ended(tmp_path, 1, run)
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 130, said
    assert "run the same command again" in said
    before = journal(tmp_path)
    assert before is not None
    done = {record.number: record for record in before.trials() if record.state != "running"}
    assert 1 <= len(done) < 3
    again = _start(tmp_path, trials=3)
    said, _ = again.communicate(timeout=PATIENCE_SECONDS)
    assert again.returncode == 0, said
    after = journal(tmp_path)
    assert after is not None
    assert all(after.trial(number) == record for number, record in done.items())
    found = json.loads((tmp_path / "runs/toy/prune_search.json").read_text())
    assert len({json.dumps(trial["shape"]) for trial in found}) == 3
    assert [trial["score"] for trial in found] == sorted((trial["score"] for trial in found), reverse=True)
    assert [trial["terms"]["temperature"] for trial in found] == pytest.approx([0.05] * 3, abs=0.005)
    assert f"prune: {{hidden: {found[0]['shape']['hidden']}" in said


def _start(folder: Path, *, trials: int) -> subprocess.Popen[str]:
    """Start a search of the toy family's student, one trial at a time; what the trials share is made before."""
    if not (folder / "toy.yaml").exists():
        data = recipe_data(folder / "runs")
        data["evaluate"] = {"heldout": ["toy"]}
        data["training"]["distil"] = {**data["training"]["distil"], "objective": {"learned_temperature": True}}
        (folder / "toy.yaml").write_text(dump_yaml(data))
        (folder / "one.yaml").write_text(dump_yaml(PROFILE | {"tune": {"workers": 1}}))
        make_shared(load_recipe(folder / "toy.yaml"))
    options = ("--budget", "16K", "--trials", str(trials), "--steps", "4", "--profile", "one.yaml")
    return subprocess.Popen(
        [sys.executable, "-m", "polyglossa.cli", "prune", "search", "toy.yaml", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_trial_is_the_recipe_with_the_shape_in_place_for_a_few_steps(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(dump_yaml(recipe_data(tmp_path)))
    whole = load_recipe(tmp_path / "toy.yaml")
    shape = Shape(hidden=24, mlp=16, layers=2, heads=4, kv_heads=2, head_dim=8)
    searched = shape_search(whole, whole.member("small"), [shape], steps=4)
    assert searched.tune is not None
    assert searched.tune.variants == (
        {"members.small.prune.hidden": 24, "members.small.prune.mlp": 16, "members.small.prune.layers": 2},
    )
    assert searched.tune.judge.sets == ("toy",)
    assert searched.member("small").steps == 4
