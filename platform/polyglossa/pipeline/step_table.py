"""`polyglossa steps`: the plan of a training node as a table, from its recipe and the pack that it reads."""

from polyglossa.data.feed_spec import FeedSpec, steps_table
from polyglossa.errors import DataError, RecipeError
from polyglossa.pipeline.build import build
from polyglossa.pipeline.find_artifacts import find_artifacts
from polyglossa.recipe import Recipe
from polyglossa.recipe.sections.train import TrainConfig


def show_steps(recipe: Recipe, window: str, node: str | None = None) -> str:
    """Render steps `FIRST:LAST` of a training node; None takes the recipe's first.

    Raises:
        RecipeError: the window or the node's name is wrong.
        DataError: the pack that the node reads is not made yet.
    """
    first, _, last = window.partition(":")
    if not (first.isdigit() and last.isdigit()):
        raise RecipeError(f"steps {window}: write two numbers, as 0:20.")
    training = {name: found for name, found in build(recipe).nodes.items() if found.stage == "train"}
    chosen = training.get(node or next(iter(training)))
    if chosen is None:
        raise RecipeError(f"--node {node}: not one of {', '.join(training)}.")
    pack = find_artifacts(recipe).get(chosen.inputs["pack"])
    if pack is None:
        raise DataError(f"{chosen.inputs['pack']} is not made yet; run `polyglossa run RECIPE --until pack` first.")
    assert isinstance(chosen.config, TrainConfig)
    return steps_table(FeedSpec.of_stage(chosen.config.stage, pack.uri), int(first), int(last))
