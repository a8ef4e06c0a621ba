"""Find the model that a command is given: a directory, or a recipe's finished member."""

from collections.abc import Sequence
from pathlib import Path

from polyglossa.errors import UserError


def find_member(member: str, recipe: Path | None, overrides: Sequence[str]) -> tuple[str, str]:
    """Model directory and name of what a command is given: a directory, or a recipe's finished member.

    Raises:
        UserError: there is no such thing.
    """
    if recipe is None:
        if not Path(member).is_dir() and "://" not in member:
            raise UserError(f"{member}: no model directory; give one, or --recipe RECIPE and a member's name.")
        from polyglossa.serving.model_folder import check_model_folder

        check_model_folder(member)
        return member, Path(member.rstrip("/")).name
    from polyglossa.pipeline.find_artifacts import served_models
    from polyglossa.recipe import load_recipe

    models = served_models(load_recipe(recipe, overrides))
    if member not in models:
        raise UserError(f"{member}: not a finished member of {recipe}; there are {', '.join(models)}.")
    return models[member], member
