"""`polyglossa run`: make what a recipe describes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.cli.command import taken_up_again
from polyglossa.cli.options import SPEC, ClusterSpec, Overrides, ProfileFile, RecipeFile
from polyglossa.recipe import load_profile, load_recipe


def run(
    recipe: RecipeFile,
    until: Annotated[str | None, typer.Option(help="Stop after this stage.")] = None,
    overrides: Overrides = None,
    profile: ProfileFile = None,
    cluster: ClusterSpec = SPEC,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop all when a node fails.")] = False,
) -> None:
    """Run a recipe; what is already there is not made again."""
    run_recipe(recipe, until=until, overrides=overrides or (), profile=profile, cluster=cluster, fail_fast=fail_fast)


def run_recipe(
    recipe: Path,
    *,
    until: str | None,
    overrides: Sequence[str],
    profile: Path | None,
    cluster: Path = SPEC,
    fail_fast: bool = False,
) -> None:
    """Load and run; everything that can be wrong in the input is found before anything starts.

    Raises:
        UserError: the recipe or the profile is wrong.
        Interrupted: Ctrl-C or SIGTERM.
    """
    loaded, placement = load_recipe(recipe, overrides), load_profile(profile)
    from polyglossa.capacity.forecast import forecast_of
    from polyglossa.pipeline.run import run

    known = forecast_of(loaded, placement, cluster)
    with taken_up_again():
        run(loaded, placement, until=until, forecast=known, fail_fast=fail_fast)
