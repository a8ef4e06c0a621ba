"""`polyglossa run`: make what a recipe describes."""

from typing import Annotated

import typer

from polyglossa.cli.command import Overrides, ProfileFile, RecipeFile, run_recipe


def run(
    recipe: RecipeFile,
    until: Annotated[str | None, typer.Option(help="Stop after this stage.")] = None,
    overrides: Overrides = None,
    profile: ProfileFile = None,
) -> None:
    """Run a recipe; what is already there is not made again."""
    run_recipe(recipe, until=until, overrides=overrides or (), profile=profile)
