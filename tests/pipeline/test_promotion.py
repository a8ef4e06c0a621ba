"""An alias moves only where the gate holds, and the endpoint serves what the alias was moved to."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.toy_stages import name_of, toy_stages
from polyglossa.artifact import Artifact, Draft
from polyglossa.errors import ArtifactError, RecipeError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.execute import execute
from polyglossa.pipeline.find_artifacts import served_models
from polyglossa.pipeline.promotion import previous_model, promote, read_promotions, with_promotions
from polyglossa.recipe import Profile, Recipe, load_recipe

QUICKSTART = Path(__file__).parents[2] / "jobs/recipes/quickstart.yaml"
GATE = "evaluate.gate={mean: 0.5, largest_loss: 0.05}"


def family(root: Path, mean: float, *overrides: str, seed: int = 0) -> Recipe:
    """A recipe all of whose artifacts are there: evaluations say `mean`."""
    recipe = load_recipe(QUICKSTART, [f"storage={root}", GATE, f"training.stage2.seed={seed}", *overrides])

    def work(stage: str, config: object, inputs: Mapping[str, Artifact], draft: Draft) -> None:
        if stage == "evaluate":
            tasks = {"cldr": {"mean": mean, "by_language": {"deu": mean}, "widths": {}}}
            draft.write_json({"tasks": tasks, "failed": {}, "dim": 8, "mean": mean}, "summary.json")

    execute(list(build(recipe).nodes.values()), recipe.root, Profile(), stages=toy_stages(work))
    return recipe


def test_an_alias_moves_where_the_gate_holds_and_stays_where_it_does_not(tmp_path: Path) -> None:
    first = family(tmp_path, 0.8)
    assert promote(first, "live", "base").passed
    at_first = read_promotions(first)["live"]["model"]
    assert at_first == served_models(first)["base"]
    worse = family(tmp_path, 0.7, seed=1)
    assert promote(worse, "live", "base").reasons == ("cldr: loses 0.1000 against the current model, more than 0.05",)
    assert read_promotions(worse)["live"]["model"] == at_first
    config, models = with_promotions(worse, served_models(worse))
    assert models["live"] == at_first
    assert "live" not in config.aliases
    better = family(tmp_path, 0.9, seed=2)
    assert promote(better, "live", "base", move=False).passed
    assert read_promotions(better)["live"]["model"] == at_first
    assert promote(better, "live", "base").passed
    config, models = with_promotions(better, served_models(better))
    assert config.aliases["live"] == "base"
    assert "live" not in models


def test_a_member_below_the_gate_is_not_promoted_even_where_nothing_is(tmp_path: Path) -> None:
    low = family(tmp_path, 0.3)
    assert promote(low, "live", "small").reasons == ("mean 0.3000 is below 0.5",)
    assert read_promotions(low) == {}


OWN = {
    "evaluate.local": "[{kind: retrieval, name: own-faq, path: nowhere}]",
    "own": "{folder: nowhere, tasks: [own-faq], start: as it came}",
    "evaluate.gate": "{gain: 0.0}",
    "serve.aliases": "{live: base}",
}  # fmt: skip


def own_family(root: Path, gain: float, seed: int = 0) -> Recipe:
    """A recipe with a task of its own, on which the trained member gains so much."""
    sets = [f"{key}={value}" for key, value in OWN.items()]
    recipe = load_recipe(QUICKSTART, [f"storage={root}", f"training.stage2.seed={seed}", *sets])

    def work(stage: str, config: object, inputs: Mapping[str, Artifact], draft: Draft) -> None:
        if stage == "evaluate":
            mean = 0.5 if name_of(draft).endswith("untrained") else 0.5 + gain
            tasks = {"own-faq": {"mean": mean, "by_language": {"default": mean}, "widths": {}}}
            draft.write_json({"tasks": tasks, "failed": {}, "dim": 8, "mean": mean}, "summary.json")

    execute(list(build(recipe).nodes.values()), recipe.root, Profile(), stages=toy_stages(work))
    return recipe


def test_a_model_that_gains_nothing_on_own_data_is_not_promoted(tmp_path: Path) -> None:
    reasons = promote(own_family(tmp_path, 0.0), "live", "base").reasons
    assert reasons == ("own-faq: +0.0000 against the model that it started from, not above 0.0",)


def test_the_model_before_is_the_same_before_and_after_its_successor_is_promoted(tmp_path: Path) -> None:
    first = own_family(tmp_path, 0.1)
    assert previous_model(first) is None
    promote(first, "live", "base")
    assert previous_model(first) is None  # it is not held against itself
    second = own_family(tmp_path, 0.2, seed=1)
    before = previous_model(second)
    assert before is not None
    assert before.model == served_models(first)["base"]
    promote(second, "live", "base")
    assert previous_model(second) == before
    promote(second, "live", "base")
    assert previous_model(second) == before


def test_who_is_no_member_or_was_not_judged_is_told(tmp_path: Path) -> None:
    recipe = load_recipe(QUICKSTART, [f"storage={tmp_path}"])
    with pytest.raises(RecipeError, match="nobody: not a member"):
        promote(recipe, "live", "nobody")
    with pytest.raises(ArtifactError, match=r"evaluate\.base is not made yet"):
        promote(recipe, "live", "base")
