"""Share what commands have in common: options, reading a profile, errors in one line. Also for `jobs/`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.errors import Interrupted, PolyglossaError
from polyglossa.recipe import Profile
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
