"""`polyglossa compare`: hold two evaluations against each other."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from polyglossa.artifact import MANIFEST, Artifact, exists, open_artifact
from polyglossa.cli.options import Overrides
from polyglossa.errors import DataError
from polyglossa.recipe import Recipe, load_recipe


def compare(
    first: Annotated[str, typer.Argument(help="Evaluation: its artifact, or with --recipe a member.")],
    second: Annotated[str, typer.Argument(help="Evaluation that it is held against.")],
    recipe: Annotated[Path | None, typer.Option("--recipe", help="Recipe whose members are compared.")] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of each paired test.")] = 2000,
    overrides: Overrides = None,
) -> None:
    """Show wins, losses and regressions of one evaluation against another: by task, language and type."""
    from polyglossa.evaluate.scoring.compare import compare as held_together
    from polyglossa.evaluate.scoring.compare import comparison_table

    loaded = load_recipe(recipe, overrides or ()) if recipe is not None else None
    one, other = (_find_evaluation(label, loaded) for label in (first, second))
    Console().print(comparison_table(held_together(one, other, resamples=resamples)))


def _find_evaluation(label: str, recipe: Recipe | None) -> Artifact:
    """An evaluation by its address, or of a member of a recipe.

    Raises:
        DataError: there is no such evaluation.
    """
    if recipe is None:
        if not exists(f"{label.rstrip('/')}/{MANIFEST}"):
            raise DataError(f"{label}: no evaluation; give the folder that `polyglossa evaluate` names, or --recipe.")
        return open_artifact(label)
    from polyglossa.pipeline.find_artifacts import find_artifacts

    found = {
        name.removeprefix("evaluate."): one
        for name, one in find_artifacts(recipe).items()
        if name.startswith("evaluate.")
    }
    if label not in found:
        raise DataError(f"{label}: not evaluated; there is {', '.join(found) or 'nothing yet'}.")
    return found[label]
