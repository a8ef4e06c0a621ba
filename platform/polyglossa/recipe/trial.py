"""From a recipe and values to the recipe of a trial; and the check that every value of a space gives a valid one."""

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field

from polyglossa.errors import RecipeError
from polyglossa.recipe.load import apply_overrides, as_spelled, validate
from polyglossa.recipe.models import Recipe
from polyglossa.recipe.sections.evaluate import RetrievalTask
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.recipe.strict import Strict


class SearchConfig(Strict):
    """What shapes the artifact of a search: the whole recipe but for where it is stored."""

    tune: TuneConfig
    recipe: dict[str, Any]
    """As YAML would hold it, without `tune` and `storage`."""
    storage: str = Field(exclude=True)
    """The recipe's own; no part of the artifact's hash."""

    def whole(self) -> Recipe:
        """The recipe that is searched."""
        return trial_recipe_of({**self.recipe, "storage": self.storage}, self.tune)


def plain(recipe: Recipe) -> dict[str, Any]:
    """Give a recipe as YAML would hold it: what was written and no defaults, without its `tune` section.

    Sizes are divided already where it was read at `scale: tiny`; written down, it must not be divided again.
    """
    return recipe.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"tune", "scale"})


def trial_recipe_of(data: Mapping[str, Any], tune: TuneConfig) -> Recipe:
    """Put a recipe and its search together again."""
    return validate(Recipe, {**data, "tune": tune.model_dump(mode="json", by_alias=True, exclude_unset=True)}, "tune")


def trial_recipe(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Override fields by their dotted paths and validate the whole again.

    Args:
        recipe: what is overridden; its `tune` section is left out.
        values: value by path.

    Raises:
        RecipeError: a path leads nowhere, or the recipe would not be valid.
    """
    data = plain(recipe)
    for path, value in values.items():
        _check_path(recipe, path)
        try:
            data = apply_overrides(data, [f"{path}={json.dumps(value)}"])
        except RecipeError as error:
            raise RecipeError(f"tune: {str(error).removeprefix('--set ')}") from None
    said = ", ".join(f"{path} = {json.dumps(value)}" for path, value in values.items())
    return validate(Recipe, data, f"tune: {said}" if said else "tune")


_CHANGES_IN_TRAINING = (
    "learning_rate", "min_learning_rate", "weight_decay", "clip", "objective.temperature", "objective.hard_weight",
    "objective.in_batch_weight", "objective.score_margin", "objective.distillation_weight", "objective.terms.*",
    "objective.teacher_terms.*",
)  # fmt: skip


def check_space(recipe: Recipe) -> None:
    """Try every variant, or every dimension of the space at its ends or all its choices, the rest as it is.

    Raises:
        RecipeError: a path leads nowhere, or a value is out of range; or the searched member is none; or there is
            nothing to judge by; or `pbt` is to change what cannot change while a model trains.
    """
    assert recipe.tune is not None
    member = recipe.member(searched_member(recipe))
    if recipe.tune.scheduler == "pbt":
        section = f"training.{member.stages[-1]}"
        allowed = [f"{section}.{field}" for field in _CHANGES_IN_TRAINING]
        for path in recipe.tune.space:
            if not any(fnmatchcase(path, pattern) for pattern in allowed):
                raise RecipeError(
                    f"tune.space.{path}: cannot change while a model trains, as scheduler pbt wants; "
                    f"of {section} these can: {', '.join(_CHANGES_IN_TRAINING)}."
                )
    if not judged_sets(recipe):
        raise RecipeError(
            "tune.judge.sets: `evaluate` has neither held-out sets nor retrieval tasks from files; name some."
        )
    for values in recipe.tune.probes:
        trial_recipe(recipe, values)


def judged_sets(recipe: Recipe) -> dict[str, RetrievalTask | None]:
    """Name what a trial is judged by: held-out sets of the corpus (None), and retrieval tasks from files."""
    assert recipe.tune is not None
    files = {task.name: task for task in recipe.evaluate.local if isinstance(task, RetrievalTask)}
    names = recipe.tune.judge.sets if recipe.tune.judge.sets is not None else (*recipe.evaluate.heldout, *files)
    return {name: files.get(name) for name in names}


def searched_member(recipe: Recipe) -> str:
    """Name the member that trials train.

    Raises:
        RecipeError: `tune.member` is none of the recipe, or is not trained.
    """
    assert recipe.tune is not None
    trained = [member for member in recipe.members if member.stages]
    if recipe.tune.member is None:
        return next((member.name for member in reversed(trained) if member.teacher), trained[-1].name)
    if recipe.tune.member not in {member.name for member in trained}:
        names = ", ".join(member.name for member in trained)
        raise RecipeError(f"tune.member: {recipe.tune.member!r} is not one of the trained members: {names}.")
    return recipe.tune.member


def value_at(recipe: Recipe, path: str) -> Any:
    """Read a field by its dotted path; None where it is not given and has no default."""
    data: Any = recipe.model_dump(mode="json", by_alias=True)
    for key in path.split("."):
        data = _entry(data, key)
    return data


def _entry(data: Any, key: str) -> Any:
    """What lies under a key: of a mapping, or of a list by place or, where its items have names, by name."""
    if isinstance(data, list):
        named = {item.get("name"): item for item in data if isinstance(item, dict)}
        return data[int(key)] if key.isdigit() and int(key) < len(data) else named.get(key)
    return data.get(as_spelled(data, key)) if isinstance(data, dict) else None


def _check_path(recipe: Recipe, path: str) -> None:
    """Refuse a path through a section that is not there: an override would make a new one of that name."""
    data: Any = recipe.model_dump(mode="json", by_alias=True)
    keys = path.split(".")
    for depth, key in enumerate(keys[:-1]):
        data = _entry(data, key)
        if data is None:
            where = ".".join(keys[: depth + 1])
            raise RecipeError(f"tune: {path}: the recipe has no section {where!r}. Write it, or mend the path.")
