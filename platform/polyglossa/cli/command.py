"""What all commands share, also those of `jobs/`: errors in one line, how to go on after Ctrl-C, running a recipe.

Imports nothing but the standard library until a command runs, so that a missing extra is one line too.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from polyglossa.errors import Interrupted, PolyglossaError
from polyglossa.extras import naming_extras


def run_recipe(recipe: Path, *, until: str | None, overrides: Sequence[str], profile: Path | None) -> None:
    """Load and run; everything that can be wrong in the input is found before anything starts.

    Raises:
        UserError: the recipe or the profile is wrong.
        Interrupted: Ctrl-C or SIGTERM.
    """
    from polyglossa.library import run

    with taken_up_again():
        run(recipe, profile, overrides=overrides, until=until)


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
        with naming_extras():
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
