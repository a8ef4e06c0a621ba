"""The commands of `jobs/`: run a recipe up to a stage, for `ray job submit` and for people."""

import argparse
import sys
from pathlib import Path

from polyglossa.cli.command import errors_in_one_line


def job(doc: str, *, until: str | None) -> None:
    """Run one of `jobs/`: the recipe up to a stage, with the exit codes of the `polyglossa` command."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("recipe", type=Path, help="recipe file (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    parser.add_argument("--profile", type=Path, help="placement profile (YAML); default: local")
    parser.add_argument("--fail-fast", action="store_true", help="stop all when a node fails")
    given = parser.parse_args()
    with errors_in_one_line(Path(sys.argv[0]).name):
        from polyglossa.cli.models.run import run_recipe

        run_recipe(given.recipe, until=until, overrides=given.set, profile=given.profile, fail_fast=given.fail_fast)
