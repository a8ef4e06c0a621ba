"""Protects the search's first promise: what cannot be a recipe is refused before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from polyglossa.errors import RecipeError
from polyglossa.recipe import Recipe
from polyglossa.recipe.load import parse_yaml, validate
from polyglossa.recipe.trial import trial_recipe, value_at
from polyglossa.tune.plan import plan_nodes, rung_steps, trial_graph
from polyglossa.tune.run import recipe_yaml
from tune.toy_search import SPACE, recipe_data


def recipe(**tune: Any) -> Recipe:
    return validate(Recipe, recipe_data(Path("runs"), **tune), "toy.yaml")


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"training.distil.learnin_rate": {"uniform": [0.1, 0.2]}}, "did you mean 'learning_rate'"),
        ({"training.distill.learning_rate": {"uniform": [0.1, 0.2]}}, "has no section 'training.distill'"),
        ({"members.smal.prune.layers": {"int": [1, 2]}}, "has no section 'members.smal'"),
        ({"members.small.prune.layers": {"int": [1, 3]}}, "3 is wider than the 2 of 'base'"),
        ({"training.distil.objective.temperature": {"uniform": [0.0, 0.1]}}, "temperature"),
        ({"members.small.prune.criterion": {"choice": ["l2", "l3"]}}, "criterion"),
        ({"training.distil.learning_rate": {"uniform": [0.2, 0.1]}}, "first must be smaller"),
        ({"training.distil.learning_rate": {"loguniform": [0.0, 0.1]}}, "no logarithm"),
        ({"training.distil.learning_rate": {"uniform": [0.1, 0.2], "choice": [1]}}, "exactly one of"),
        ({"training.distil.learning_rate": {"normal": [0.1, 0.2]}}, "unknown key"),
    ],
)
def test_a_space_that_leads_out_of_valid_recipes_is_refused(space: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(space=space)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"member": "smal"}, "is not one of the trained members: base, small"),
        ({"searcher": "grid"}, "a grid cannot list a range"),
        ({"trials": None}, "trials: is missing"),
        ({"objectives": ["size"]}, "must begin with `quality`"),
        ({"scheduler": "pbt"}, "members.small.prune.layers: cannot change while a model trains"),
        ({"scheduler": "pbt", "searcher": "optuna"}, "pbt moves values by itself"),
        ({"space": {}}, "give the searcher `listed` its `variants` and no space"),
        ({"searcher": "listed"}, "give the searcher `listed` its `variants` and no space"),
        ({"variants": [{"training.distil.seed": 1}]}, "give the searcher `listed` its `variants` and no space"),
        ({"judge": {"sets": []}}, "has neither held-out sets nor retrieval tasks"),
    ],
)
def test_settings_that_do_not_hold_together_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(**changes)


def test_a_trial_is_the_recipe_with_values_in_place_and_nothing_else_changed() -> None:
    base = recipe()
    trial = trial_recipe(base, {"training.distil.learning_rate": 0.005, "members.small.prune.layers": 2})
    assert trial.training["distil"].learning_rate == 0.005
    assert trial.member("small").prune is not None
    assert trial.tune is None
    assert trial.training["stage1"] == base.training["stage1"]
    assert value_at(trial, "members.small.prune.layers") == 2


def test_a_trials_recipe_is_complete_and_reads_back_as_it_was_meant() -> None:
    values = {"training.distil.learning_rate": 1e-5, "members.small.prune.hidden": 20}
    text = recipe_yaml(recipe(), values)
    assert validate(Recipe, parse_yaml(text, "best.yaml"), "best.yaml") == trial_recipe(recipe(), values)


def test_trials_share_everything_but_the_student_and_its_cut() -> None:
    names = [node.name for node in plan_nodes(recipe())]
    assert names == [
        "corpus",
        "backbone.base",
        "pack.base.stage1",
        "train.base.stage1",
        "distill.base.base.stage1",
        "tune",
    ]


def test_what_a_value_of_the_space_touches_is_not_shared() -> None:
    nodes = plan_nodes(recipe(space={"training.stage1.learning_rate": {"uniform": [0.1, 0.2]}}))
    assert "train.base.stage1" not in [node.name for node in nodes]


def test_students_of_any_width_share_one_teacher_store_as_wide_as_the_widest() -> None:
    searched = recipe()
    widths = {"distill.base.base.stage1": 24}
    for hidden in (12, 24):
        graph = trial_graph(searched, trial_recipe(searched, {"members.small.prune.hidden": hidden}), widths)
        store = next(node for node in graph.nodes if node.stage == "distill")
        assert store in plan_nodes(searched)


def test_where_a_recipe_is_stored_does_not_shape_its_search() -> None:
    here, there = (plan_nodes(validate(Recipe, recipe_data(Path(place)), "toy"))[-1] for place in ("a", "b"))
    assert here.config.model_dump() == there.config.model_dump()
    assert "storage" not in here.config.model_dump()


def test_rungs_grow_by_the_factor_and_leave_the_last_step_out() -> None:
    assert rung_steps(10, 2, 100) == (10, 20, 40, 80)
    assert rung_steps(5, 3, 45) == (5, 15)
    assert rung_steps(8, 2, 8) == ()


def test_the_space_may_name_any_section() -> None:
    assert set(recipe().tune.space) == set(SPACE)  # type: ignore[union-attr]
