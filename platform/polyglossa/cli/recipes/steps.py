"""`polyglossa steps`: the plan of a training node as a table."""

from typing import Annotated

import typer

from polyglossa.cli.options import Overrides, RecipeFile
from polyglossa.recipe import load_recipe


def steps(
    recipe: RecipeFile,
    window: Annotated[str, typer.Argument(metavar="FIRST:LAST", help="Steps shown, the last one left out.")] = "0:20",
    node: Annotated[str | None, typer.Option(help="Training node, such as train.base.stage1.")] = None,
    overrides: Overrides = None,
) -> None:
    """Show what training steps read: source, rows, bundles, and where each source's rows go."""
    from polyglossa.pipeline.step_table import show_steps

    typer.echo(show_steps(load_recipe(recipe, overrides or ()), window, node))
