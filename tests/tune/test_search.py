"""Protects the search as a whole, small: real students under Ray Tune, a winner whose recipe gives its score again."""

import json
from pathlib import Path
from typing import Any

import pytest

from polyglossa.artifact import Artifact, open_artifact
from polyglossa.model.encoder import Encoder
from polyglossa.pipeline.build import build
from polyglossa.pipeline.execute import execute
from polyglossa.recipe import Profile, Recipe, load_recipe
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.tune import JudgeConfig
from polyglossa.tune.plan import plan_nodes
from polyglossa.tune.trial.score import SEARCH, Scorer
from tune.toy_search import PROFILE, STEPS, make_shared, write_recipe

LEARNING_RATE = "training.distil.learning_rate"


@pytest.fixture(scope="module")
def searched(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Artifact]:
    """Search three learning rates, one of which nothing survives, as `--until tune` does."""
    space = {LEARNING_RATE: {"grid": [1e-3, 5e-3, 1e30]}}
    settings = {"searcher": "grid", "trials": None, "space": space, "rungs": {"first": 2}}
    recipe = load_recipe(write_recipe(tmp_path_factory.mktemp("searched"), **settings))
    make_shared(recipe)
    return recipe, _walked(recipe, "tune")


def _walked(recipe: Recipe, name: str) -> Artifact:
    """Make an artifact of a recipe, and what it needs."""
    profile = validate(Profile, PROFILE, "profile")
    nodes = plan_nodes(recipe) if name == "tune" else build(recipe).needed_for([name])
    return execute(nodes, str(Path(recipe.root).absolute()), profile)[name]


def test_a_search_ends_with_a_table_a_page_and_a_journal(searched: tuple[Recipe, Artifact]) -> None:
    _, found = searched
    outcome = found.read_json("trials.json")
    first, second, _ = outcome["trials"]
    for trial in (first, second):
        assert trial["state"] == "finished"
        assert [rung["step"] for rung in trial["rungs"]] == [2, 4, STEPS]
        assert all(rung["low"] <= rung["score"] <= rung["high"] for rung in trial["rungs"])
    best = outcome["trials"][outcome["best"]]["rungs"][-1]
    assert best["score"] == outcome["figures"]["best"] == max(one["rungs"][-1]["score"] for one in (first, second))
    assert best["unseen"] != best["score"]
    assert "finished" in Path(found.at("table.txt")).read_text()
    assert "search-data" in Path(found.at("report", "tune.html")).read_text()
    lines = [json.loads(line) for line in Path(found.at("journal.jsonl")).read_text().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(len(lines)))


def test_a_trial_that_diverges_is_marked_with_its_reason_and_the_search_goes_on(
    searched: tuple[Recipe, Artifact],
) -> None:
    outcome = searched[1].read_json("trials.json")
    assert [trial["state"] for trial in outcome["trials"]] == ["finished", "finished", "failed"]
    assert "learning_rate" in outcome["trials"][2]["reason"]


def test_a_trial_leaves_its_scores_and_no_weights(searched: tuple[Recipe, Artifact]) -> None:
    folder = next(Path(searched[0].root, "tune").iterdir()) / "trials"
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["samples.json"] * 2


def test_a_finished_search_is_not_repeated(searched: tuple[Recipe, Artifact]) -> None:
    assert _walked(searched[0], "tune").uri == searched[1].uri


@pytest.mark.slow
def test_the_best_recipe_run_plainly_gives_its_trials_score_again(searched: tuple[Recipe, Artifact]) -> None:
    recipe, found = searched
    best = load_recipe(found.at("best.yaml"))
    assert best.tune is None
    trained = _walked(best, "train.small.distil")
    corpus = next(Path(recipe.root, "artifacts/corpus").iterdir())
    judge = Scorer(open_artifact(str(corpus)), {"toy": None}, JudgeConfig())
    scores = judge.scores(Encoder.load(trained.at("model")), instructed=True, part=SEARCH)
    assert judge.summary(scores).mean == _best_score(found)


def _best_score(found: Artifact) -> Any:
    return found.read_json("trials.json")["figures"]["best"]
