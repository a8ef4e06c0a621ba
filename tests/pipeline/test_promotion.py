"""An alias moves only where the gate holds, and the endpoint serves what the alias was moved to."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.toy_stages import toy_stages
from polyglossa.artifact import Artifact, Draft
from polyglossa.errors import ArtifactError, RecipeError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.execute import execute
from polyglossa.pipeline.find_artifacts import served_models
from polyglossa.pipeline.promotion import promote, read_promotions, with_promotions
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


def test_who_is_no_member_or_was_not_judged_is_told(tmp_path: Path) -> None:
    recipe = load_recipe(QUICKSTART, [f"storage={tmp_path}"])
    with pytest.raises(RecipeError, match="nobody: not a member"):
        promote(recipe, "live", "nobody")
    with pytest.raises(ArtifactError, match=r"evaluate\.base is not made yet"):
        promote(recipe, "live", "base")
