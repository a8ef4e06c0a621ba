"""`polyglossa recipe`: check a recipe, or print the schema of all."""

import json

import typer

from polyglossa.cli.options import Overrides, RecipeFile
from polyglossa.recipe import Recipe, load_recipe

app = typer.Typer(no_args_is_help=True, help="Check recipes and show what may stand in them.")


@app.command("check")
def check(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Validate a recipe and list what it would make."""
    from polyglossa.pipeline.backbones import describe_backbones
    from polyglossa.pipeline.build import describe

    loaded = load_recipe(recipe, overrides or ())
    typer.echo(describe(loaded))
    for line in describe_backbones(loaded):
        typer.echo(line)
    typer.echo(f"{recipe}: valid.")


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of recipes, every field with its meaning."""
    typer.echo(json.dumps(Recipe.model_json_schema(by_alias=True), indent=2, ensure_ascii=False))
