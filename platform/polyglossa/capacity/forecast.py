"""What a run knows beforehand: seconds of nodes from `plan`'s estimates, limits of groups from the cluster's spec."""

from pathlib import Path

from polyglossa.capacity.estimate import estimate
from polyglossa.capacity.node_groups import read_groups, rooms_of
from polyglossa.costing.devices import DEVICES, Calibration
from polyglossa.errors import UserError
from polyglossa.pipeline.run import Forecast
from polyglossa.recipe import Profile, Recipe


def forecast_of(recipe: Recipe, profile: Profile, spec: Path | None) -> Forecast:
    """Forecast a recipe on a profile.

    Where the recipe does not tell sizes (no `expect`, a backbone from the hub), nothing is known of seconds: nodes then
    go in the order of their stages' starts. That changes which of the nodes that are ready goes first, and no result.
    """
    groups = read_groups(spec)
    rooms = rooms_of(groups, profile)
    try:
        planned = estimate(recipe, profile, Calibration(DEVICES), groups)
    except UserError:
        return Forecast(rooms=rooms)
    return Forecast({node.name: node.seconds for node in planned.nodes}, rooms)
