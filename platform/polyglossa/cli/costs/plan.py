"""`polyglossa plan`: what a recipe costs on a profile, counted in seconds, without data, GPUs, torch or Ray."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from polyglossa.capacity.estimate import CapacityPlan, estimate
from polyglossa.capacity.node_groups import read_groups, read_prices
from polyglossa.capacity.processor import with_this_processor
from polyglossa.capacity.table import as_json, comparison_table, plan_table, trade_table
from polyglossa.cli.options import SPEC, ClusterSpec, Overrides, ProfileFile, RecipeFile
from polyglossa.cluster.spec import Group
from polyglossa.costing.devices import Calibration, read_calibration
from polyglossa.errors import UserError
from polyglossa.recipe import Profile, Recipe, load_profile, load_recipe

_MOST_STEPS = 8


def plan(
    recipe: RecipeFile,
    profile: ProfileFile = None,
    compare: Annotated[Path | None, typer.Option(help="Second profile, shown beside the first.")] = None,
    overrides: Overrides = None,
    prices: Annotated[str | None, typer.Option(help="Price of a node-hour: group=price,… or a YAML file.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="What `polyglossa calibrate` or `make bench-gpu` wrote.")
    ] = None,
    cluster: ClusterSpec = SPEC,
    nodes: Annotated[
        str | None, typer.Option(help="Show what a group's limit makes of the run: group=FEWEST..MOST.")
    ] = None,
    as_data: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count what a recipe costs on a profile; exit code 2 where something does not fit."""
    loaded, speeds, groups, paid = (
        load_recipe(recipe, overrides or ()), read_calibration(calibration), read_groups(cluster), read_prices(prices),
    )  # fmt: skip
    profiles = [load_profile(path) for path in (profile, *([compare] if compare is not None else []))]
    speeds = with_this_processor(speeds, profiles)
    plans = [estimate(loaded, one, speeds, groups, paid) for one in profiles]
    typer.echo(_format(plans, as_data))
    if nodes is not None:
        group, limits = read_limits(nodes, groups)
        typer.echo(f"\n{trade_table(group, trade(loaded, profiles[0], speeds, groups, paid, group, limits))}")
    if plans[0].misfits:
        names = ", ".join(misfit.node for misfit in plans[0].misfits)
        raise UserError(f"{plans[0].profile} does not hold {names}; the arithmetic stands above.")


def read_limits(given: str, groups: Mapping[str, Group]) -> tuple[str, list[int]]:
    """Read `group=4..16`: the group, and up to nine limits between the two.

    Raises:
        UserError: it is written otherwise, or there is no such group.
    """
    group, _, span = given.partition("=")
    fewest, dots, most = span.partition("..")
    if not dots or not (fewest.isdigit() and most.isdigit()) or not 0 < int(fewest) <= int(most):
        raise UserError(f"--nodes {given}: write group=FEWEST..MOST, as train=4..16.")
    if group not in groups:
        raise UserError(f"--nodes {given}: the cluster's spec has no group {group!r}; it has {', '.join(groups)}.")
    step = max(1, -(-(int(most) - int(fewest)) // _MOST_STEPS))
    return group, sorted({*range(int(fewest), int(most) + 1, step), int(most)})


def trade(
    recipe: Recipe,
    profile: Profile,
    speeds: Calibration,
    groups: Mapping[str, Group],
    prices: Mapping[str, float],
    group: str,
    limits: Sequence[int],
) -> list[tuple[int, CapacityPlan]]:
    """Plan a recipe under several limits of one group."""
    plans = []
    for machines in limits:
        has = profile.groups[group].model_dump() if group in profile.groups else {
            "cpus": groups[group].cpus, "gpus": groups[group].gpus
        }  # fmt: skip
        limited = {name: limit.model_dump() for name, limit in profile.groups.items()}
        limited[group] = has | {"machines": machines}
        plans.append((machines, estimate(recipe, profile.changed(groups=limited), speeds, groups, prices)))
    return plans


def _format(plans: list[CapacityPlan], as_data: bool) -> str:
    if as_data:
        data = [as_json(plan) for plan in plans]
        return json.dumps(data[0] if len(data) == 1 else data, indent=1, ensure_ascii=False)
    shown = plan_table(plans[0])
    return shown if len(plans) == 1 else f"{shown}\n\n{comparison_table(plans)}"
