"""Declare the options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe file (YAML).")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B.C=VALUE", help="Override one value.")]
ProfileFile = Annotated[Path | None, typer.Option("--profile", help="Placement profile (YAML); default: local.")]
ClusterSpec = Annotated[Path, typer.Option("--cluster", help="Cluster spec that the profile's groups stand in.")]
SPEC = Path("cluster/spec.yaml")
