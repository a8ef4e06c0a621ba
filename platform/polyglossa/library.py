"""The package as a library: load, run and plan recipes from Python, as the commands do.

Needs `polyglossa[recipe]`; `run` needs what the recipe's stages need, and says so before anything starts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyglossa.errors import RecipeError
from polyglossa.recipe import Profile, Recipe, load_profile, load_recipe

if TYPE_CHECKING:
    from polyglossa.artifact import Artifact
    from polyglossa.capacity.estimate import CapacityPlan

__all__ = ["load_profile", "load_recipe", "plan", "run"]


def run(
    recipe: Recipe | str | Path,
    profile: Profile | str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    until: str | None = None,
    cluster: Path | None = None,
    fail_fast: bool = False,
) -> "dict[str, Artifact]":
    """Make every artifact of a recipe that is not there yet; everything wrong in the input is found before the start.

    Args:
        recipe: what to make: a recipe, or the path of its file.
        profile: where: a placement profile, the path of its file, or None for this machine.
        overrides: `a.b.c=value` items, as `--set` takes them.
        until: stop after this stage; `tune` makes the recipe's search. None makes everything.
        cluster: cluster spec whose groups the profile names; None: no groups.
        fail_fast: whether the first node that fails stops the others.

    Returns:
        Artifacts by the names of their nodes.

    Raises:
        UserError: the recipe, the profile or an override is wrong, or an extra is missing.
    """
    loaded, placement = as_recipe(recipe, overrides), as_profile(profile)
    from polyglossa.extras import naming_extras

    with naming_extras():
        from polyglossa.capacity.forecast import forecast_of
        from polyglossa.pipeline.run import run
    known = forecast_of(loaded, placement, cluster)
    return run(loaded, placement, until=until, forecast=known, fail_fast=fail_fast)


def plan(
    recipe: Recipe | str | Path,
    profile: Profile | str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    prices: Mapping[str, float] | None = None,
    calibration: Path | None = None,
    cluster: Path | None = None,
) -> "CapacityPlan":
    """Count what a recipe costs on a profile, without data, GPUs, torch or Ray.

    Args:
        recipe: a recipe, or the path of its file.
        profile: a placement profile, the path of its file, or None for this machine.
        overrides: `a.b.c=value` items, as `--set` takes them.
        prices: price of a node-hour by group.
        calibration: what `polyglossa calibrate` wrote; None takes the table of devices.
        cluster: cluster spec whose groups the profile names; None: no groups.

    Returns:
        Time, memory, nodes and money of every node; `misfits` lists what does not fit.

    Raises:
        UserError: the recipe, the profile or a file is wrong.
    """
    from polyglossa.capacity.estimate import estimate
    from polyglossa.capacity.node_groups import read_groups
    from polyglossa.capacity.processor import with_this_processor
    from polyglossa.costing.devices import read_calibration

    loaded, placement = as_recipe(recipe, overrides), as_profile(profile)
    speeds = with_this_processor(read_calibration(calibration), [placement])
    return estimate(loaded, placement, speeds, read_groups(cluster), prices)


def as_recipe(recipe: Recipe | str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe where its path is given.

    Raises:
        UserError: overrides came with a recipe that is loaded already, or its file is wrong.
    """
    if not isinstance(recipe, Recipe):
        return load_recipe(recipe, overrides)
    if overrides:
        raise RecipeError("overrides: the recipe is loaded already; give them to load_recipe, or give a path here.")
    return recipe


def as_profile(profile: Profile | str | Path | None) -> Profile:
    """Load a profile where its path is given; None is this machine."""
    return profile if isinstance(profile, Profile) else load_profile(profile)
