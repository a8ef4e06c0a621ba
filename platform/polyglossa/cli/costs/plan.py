"""`polyglossa plan`: what a recipe costs on a profile, counted in seconds, without data, GPUs, torch or Ray."""

import json
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.capacity.estimate import CapacityPlan, estimate
from polyglossa.capacity.node_groups import read_groups, read_head, read_prices
from polyglossa.capacity.processor import with_this_processor
from polyglossa.capacity.table import as_json, comparison_table, plan_table
from polyglossa.cli.options import Overrides, ProfileFile, RecipeFile
from polyglossa.costing.devices import read_calibration
from polyglossa.errors import UserError
from polyglossa.recipe import load_profile, load_recipe

_SPEC = Path("cluster/spec.yaml")


def plan(
    recipe: RecipeFile,
    profile: ProfileFile = None,
    compare: Annotated[Path | None, typer.Option(help="Second profile, shown beside the first.")] = None,
    overrides: Overrides = None,
    prices: Annotated[str | None, typer.Option(help="Price of a node-hour: group=price,… or a YAML file.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="What `polyglossa calibrate` or `make bench-gpu` wrote.")
    ] = None,
    cluster: Annotated[Path, typer.Option(help="Cluster spec that the profile's groups stand in.")] = _SPEC,
    as_data: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count what a recipe costs on a profile; exit code 2 where something does not fit."""
    loaded, speeds, groups, paid = (
        load_recipe(recipe, overrides or ()), read_calibration(calibration), read_groups(cluster), read_prices(prices),
    )  # fmt: skip
    profiles = [load_profile(path) for path in (profile, *([compare] if compare is not None else []))]
    speeds = with_this_processor(speeds, profiles)
    head = read_head(cluster)
    plans = [estimate(loaded, one, speeds, groups, paid, head) for one in profiles]
    typer.echo(_format(plans, as_data))
    if plans[0].misfits:
        names = ", ".join(misfit.node for misfit in plans[0].misfits)
        raise UserError(f"{plans[0].profile} does not hold {names}; the arithmetic stands above.")


def _format(plans: list[CapacityPlan], as_data: bool) -> str:
    if as_data:
        data = [as_json(plan) for plan in plans]
        return json.dumps(data[0] if len(data) == 1 else data, indent=1, ensure_ascii=False)
    shown = plan_table(plans[0])
    return shown if len(plans) == 1 else f"{shown}\n\n{comparison_table(plans)}"
