"""`polyglossa prune`: look for the shape that a pruned member should have."""

from typing import Annotated

import typer

from polyglossa.cli.command import taken_up_again
from polyglossa.cli.options import Overrides, ProfileFile, RecipeFile
from polyglossa.recipe import load_profile, load_recipe

app = typer.Typer(no_args_is_help=True, help="Search shapes of smaller members.")


@app.callback()
def prune() -> None:
    """Search shapes of smaller members."""


@app.command("search")
def search(
    recipe: RecipeFile,
    budget: Annotated[str, typer.Option(help="Most parameters (100M, 850K) or milliseconds a text (5ms).")],
    member: Annotated[
        str | None, typer.Option(help="Pruned member whose shape is searched; default: the first with a teacher.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Shapes that are tried.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Distillation steps of each.")] = 50,
    overrides: Overrides = None,
    profile: ProfileFile = None,
) -> None:
    """Rank candidate shapes under a budget by held-out retrieval after a short distillation of each.

    Each shape is a trial of a search over recipes; interrupted, the same command goes on where it was.
    """
    from polyglossa.tune.budget import Budget

    loaded, placement, limit = load_recipe(recipe, overrides or ()), load_profile(profile), Budget.parse(budget)
    from polyglossa.tune import shape_search

    with taken_up_again():
        found = shape_search.search(loaded, placement, budget=limit, member=member, trials=trials, steps=steps)
    typer.echo(shape_search.table(found))
