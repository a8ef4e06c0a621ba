"""The `polyglossa` command: thin. It parses, builds, calls; a user's mistake is one line and exit code 2."""

import json
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.pipelines import command
from polyglossa.pipelines.calibrate_command import calibrate
from polyglossa.pipelines.cluster_command import app as cluster_app
from polyglossa.pipelines.docs_command import docs
from polyglossa.pipelines.evaluate_command import compare, evaluate, gate
from polyglossa.pipelines.init_command import init
from polyglossa.pipelines.plan_command import plan
from polyglossa.pipelines.prune_command import app as prune_app
from polyglossa.pipelines.simulate_command import simulate_feed
from polyglossa.recipe import Recipe, load_recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
recipe_app = typer.Typer(no_args_is_help=True, help="Check recipes and show what may stand in them.")
app.add_typer(recipe_app, name="recipe")
app.add_typer(cluster_app, name="cluster")
app.add_typer(prune_app, name="prune")
app.command("plan")(plan)
app.command("init")(init)
app.command("calibrate")(calibrate)
app.command("simulate")(simulate_feed)
app.command("docs")(docs)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("gate")(gate)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file (YAML).")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B.C=VALUE", help="Override one value.")]
ProfileFile = Annotated[Path | None, typer.Option("--profile", help="Placement profile (YAML); default: local.")]


@app.command("run")
def run_recipe(
    recipe: RecipeFile,
    until: Annotated[str | None, typer.Option(help="Stop after this stage.")] = None,
    overrides: Overrides = None,
    profile: ProfileFile = None,
) -> None:
    """Run a recipe; what is already there is not made again."""
    command.run_recipe(recipe, until=until, overrides=overrides or (), profile=profile)


@app.command("steps")
def steps(
    recipe: RecipeFile,
    window: Annotated[str, typer.Argument(metavar="FIRST:LAST", help="Steps shown, the last one left out.")] = "0:20",
    node: Annotated[str | None, typer.Option(help="Training node, such as train.base.stage1.")] = None,
    overrides: Overrides = None,
) -> None:
    """Show what training steps read: source, rows, bundles, and where each source's rows go."""
    from polyglossa.pipelines.steps import show_steps

    typer.echo(show_steps(load_recipe(recipe, overrides or ()), window, node))


@recipe_app.command("check")
def check(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Validate a recipe and list what it would make."""
    from polyglossa.pipelines.backbones import describe_backbones
    from polyglossa.pipelines.family import describe

    loaded = load_recipe(recipe, overrides or ())
    typer.echo(describe(loaded))
    for line in describe_backbones(loaded):
        typer.echo(line)
    typer.echo(f"{recipe}: valid.")


@recipe_app.command("schema")
def schema() -> None:
    """Print the JSON schema of recipes, every field with its meaning."""
    typer.echo(json.dumps(Recipe.model_json_schema(by_alias=True), indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command line; errors made on purpose are one line."""
    with command.errors_in_one_line("polyglossa"):
        app()


if __name__ == "__main__":
    main()
