"""The end of a run on one's own data: say in sentences what came of it, and promote the model if its gate holds."""

from polyglossa.artifact import Artifact
from polyglossa.own.advice import advice, sentences
from polyglossa.pipeline.promotion import promote
from polyglossa.recipe import Recipe
from polyglossa.runtime import console


def show_own(recipe: Recipe, own: Artifact) -> None:
    """Tell the outcome, what to try where it is not better, and where the alias points now."""
    found = own.read_json("own.json")
    console.say()
    for line in sentences(found):
        console.say(line)
    for line in advice(found, learning_of(recipe), f"{recipe.name}.yaml", has_search=recipe.tune is not None):
        console.say(line)
    doubts = sum(found["doubtful"].values())
    if doubts:
        console.say(f"{doubts:,} rows to look at: {own.at('doubtful.parquet')}")
    console.say(f"queries that gained and lost most: {own.at('own.html')}")
    for alias, member in recipe.serve.aliases.items():
        reasons = promote(recipe, alias, member).reasons
        console.say(f"{alias} → {member}: {'promoted' if not reasons else 'stays where it is'}")
        for reason in reasons:
            console.say(f"  {reason}")


def learning_of(recipe: Recipe) -> dict[str, float]:
    """What the first member's last stage learned with, for advice."""
    stage = recipe.training[recipe.members[0].stages[-1]]
    told: dict[str, float] = {"learning_rate": stage.learning_rate, "negatives": stage.negatives}
    if stage.steps is not None:
        told["steps"] = stage.steps
    if recipe.mine is not None and recipe.mine.relative_margin is not None:
        told["relative_margin"] = recipe.mine.relative_margin
    return told
