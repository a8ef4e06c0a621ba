"""Declare the options that commands share."""

from pathlib import Path
from typing import Annotated

import typer


def recipe_path(name: str) -> Path:
    """Take a recipe's file, or its name where `NAME.yaml` lies here."""
    path = Path(name)
    beside = Path(f"{name}.yaml")
    return beside if not path.is_file() and beside.is_file() else path


RecipeFile = Annotated[
    Path, typer.Argument(metavar="RECIPE", parser=recipe_path, help="Recipe file (YAML), or the name of NAME.yaml.")
]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B.C=VALUE", help="Override one value.")]
ProfileFile = Annotated[Path | None, typer.Option("--profile", help="Placement profile (YAML); default: local.")]
ClusterSpec = Annotated[Path, typer.Option("--cluster", help="Cluster spec that the profile's groups stand in.")]
SPEC = Path("cluster/spec.yaml")
