"""Protects searches whose trials are listed: every variant is a valid recipe, and what it leaves alone is shared."""

from pathlib import Path
from typing import Any

import pytest

from polyglossa.errors import RecipeError
from polyglossa.pipeline.build import build
from polyglossa.recipe import Recipe
from polyglossa.recipe.load import validate
from polyglossa.recipe.shortened import listed_search, shortened, taught_member
from polyglossa.recipe.trial import trial_recipe
from polyglossa.tune.journal import TrialRecord
from polyglossa.tune.plan import plan_nodes
from polyglossa.tune.propose import propose
from polyglossa.tune.results import importance, table
from polyglossa.tune.run import outcome
from polyglossa.tune.runner import one_of_each_length
from tune.test_results import report
from tune.toy_search import SHAPE, STAGE, recipe_data

SCRATCH = {
    "members.small.prune": None,
    "members.small.backbone": {"shape": {**SHAPE, "hidden": 16}, "tokenizer": {"vocabulary": 300}, "max_tokens": 32},
    "members.small.reads_with": "base",
}
VARIANTS: list[dict[str, Any]] = [{"training.distil.learning_rate": 0.002}, {"members.small.teacher": None}, SCRATCH]


def recipe(*variants: dict[str, Any], **changes: Any) -> Recipe:
    data = recipe_data(Path("runs"), searcher="listed", space={}, trials=None, variants=list(variants or VARIANTS))
    return validate(Recipe, data | changes, "toy.yaml")


def test_trials_are_the_variants_in_their_order() -> None:
    tune = recipe().tune
    assert tune is not None
    assert [propose(tune, number, []) for number in range(4)] == [*VARIANTS, None]


def test_a_variant_may_take_a_section_away_and_put_another_in_its_place() -> None:
    searched = recipe()
    from_scratch = trial_recipe(searched, SCRATCH).member("small")
    assert from_scratch.prune is None
    assert from_scratch.backbone is not None
    names = [node.name for node in plan_nodes(searched)]
    # One variant reads no teacher's store, another cuts nothing.
    assert names == ["corpus", "backbone.base", "pack.base.stage1", "train.base.stage1", "tune"]


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"members.small.prune.layers": 3}, "3 is wider than the 2 of 'base'"),
        ({"members.small.prune": None}, "give exactly one of `backbone` and `prune`"),
        ({"members.smal.teacher": None}, "has no section 'members.smal'"),
        ({"training.distil.objective.terms": "similar"}, "'similar' is not a preset"),
    ],
)
def test_a_variant_that_is_no_recipe_is_refused(variant: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe({"training.distil.seed": 1}, variant)


def test_one_variant_of_each_length_is_asked_how_long_it_is() -> None:
    seeds = [{"training.distil.seed": seed} for seed in range(3)]
    longer = {"members.small.steps": 20}
    assert one_of_each_length(recipe(), [*seeds, longer]) == [seeds[0], longer]


def test_a_listed_search_is_summed_up_without_a_space() -> None:
    variants = [*VARIANTS, *({"training.distil.seed": seed} for seed in (1, 2))]
    searched = recipe(*variants)
    reports = [report(8, 0.5 + number / 10, final=True, parameters=1000) for number in range(5)]
    trials = [TrialRecord(number, variants[number], [one], "finished") for number, one in enumerate(reports)]
    found = outcome(searched, trials, trials[2], None)
    assert found["space"]["members.small.teacher"] == {"choice": ["base", None]}
    assert found["best"] == 2
    assert searched.tune is not None
    assert importance(searched.tune, trials, found["own"]) == {}
    assert "small.reads_with" in table(searched.tune, trials, 2, [])


def test_a_shortened_recipe_trains_one_member_in_a_stage_of_its_own() -> None:
    later = {**recipe_data(Path("runs"))["members"][1], "name": "smaller", "without_distillation": True}
    members = [*recipe_data(Path("runs"))["members"], later]
    whole = validate(Recipe, recipe_data(Path("runs")) | {"members": members, "serve": {"members": ["smaller"]}}, "toy")
    short = shortened(whole, "small", steps=4)
    assert [member.name for member in short.members] == ["base", "small"]
    small = short.member("small")
    assert (small.stages, small.steps, short.training["distil-short"].warmup_steps) == (("distil-short",), 4, 0)
    assert short.training["distil"] == whole.training["distil"]
    # What the member reads is what the whole recipe makes.
    own, before = build(short).nodes["train.small.distil-short"], build(whole).nodes["train.small.distil"]
    assert own.inputs == before.inputs


def test_a_change_of_the_own_stage_leaves_parent_and_teacher_alone() -> None:
    data = recipe_data(Path("runs"))
    data["training"] = {"stage1": STAGE}
    data["members"][1]["stages"] = ["stage1"]  # the stage that the teacher learns in, too
    data["tune"]["space"] = {"members.small.prune.layers": {"choice": [1, 2]}}
    short = shortened(validate(Recipe, data, "toy"), "small", steps=4)
    variants = [{"training.stage1-short.seed": seed} for seed in (1, 2)]
    searched = listed_search(short, variants, sets=["toy"], queries=None, first_rung=4)
    assert {"train.base.stage1", "distill.base.base.stage1", "prune.small"} <= {
        node.name for node in plan_nodes(searched)
    }


def test_who_has_no_teacher_is_refused_with_the_names_of_those_who_have() -> None:
    assert taught_member(recipe(), None).name == "small"
    with pytest.raises(RecipeError, match="base: is no pruned member with a teacher; there is small"):
        taught_member(recipe(), "base")
