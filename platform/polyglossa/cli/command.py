"""Share what commands have in common: options, reading recipe and profile, errors in one line. Also for `jobs/`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.errors import Interrupted, PolyglossaError
from polyglossa.recipe import Profile, load_recipe
from polyglossa.recipe.load import read_mapping, validate

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file (YAML).")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B.C=VALUE", help="Override one value.")]
ProfileFile = Annotated[Path | None, typer.Option("--profile", help="Placement profile (YAML); default: local.")]


def load_profile(path: Path | None) -> Profile:
    """Read a placement profile; None is the local default.

    Raises:
        RecipeError: the file is missing or not a valid profile.
    """
    return Profile() if path is None else validate(Profile, read_mapping(path), str(path))


def run_recipe(recipe: Path, *, until: str | None, overrides: Sequence[str], profile: Path | None) -> None:
    """Load and run; everything that can be wrong in the input is found before anything starts.

    Raises:
        UserError: the recipe or the profile is wrong.
        Interrupted: Ctrl-C or SIGTERM.
    """
    loaded, placement = load_recipe(recipe, overrides), load_profile(profile)
    from polyglossa.pipeline.run import make, run

    with taken_up_again():
        if until == "tune":
            from polyglossa.tune.plan import search_nodes

            make(loaded, placement, search_nodes(loaded))
        else:
            run(loaded, placement, until=until)


@contextmanager
def taken_up_again() -> Iterator[None]:
    """Tell whoever stops a run that the same command goes on with it.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted; run the same command again to go on where it stopped") from None


@contextmanager
def errors_in_one_line(program: str) -> Iterator[None]:
    """Print an error made on purpose as one line and end with its exit code."""
    try:
        yield
    except PolyglossaError as error:
        sys.stderr.write(f"{program}: {error}\n")
        sys.exit(error.exit_code)


def job(doc: str, *, until: str | None) -> None:
    """Run one of `jobs/`: the recipe up to a stage, with the exit codes of the `polyglossa` command."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("recipe", type=Path, help="recipe file (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    parser.add_argument("--profile", type=Path, help="placement profile (YAML); default: local")
    given = parser.parse_args()
    with errors_in_one_line(Path(sys.argv[0]).name):
        run_recipe(given.recipe, until=until, overrides=given.set, profile=given.profile)
