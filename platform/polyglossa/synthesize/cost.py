"""What the synthesize stage costs: calls of a model behind an endpoint, at most as many as the recipe allows."""

from polyglossa.costing.devices import Device
from polyglossa.costing.family import Family
from polyglossa.costing.work import PlannedNode, StageCost, Work, no_footprint
from polyglossa.recipe import StagePlacement
from polyglossa.recipe.sections.sources import SyntheticSource

_ROW_BYTES = 500


def work(node: PlannedNode, family: Family) -> Work:
    """Count the rows that may be written from."""
    assert isinstance(node.config, SyntheticSource)
    rows = node.config.per_language
    return Work(rows=rows, stored_bytes=rows * _ROW_BYTES)


def seconds(work: Work, placement: StagePlacement, device: Device) -> float:
    """Take no time here: the endpoint's is not known."""
    return 0.0


def uncounted(node: PlannedNode) -> str | None:
    """Name the model that writes, and the most that it is asked."""
    assert isinstance(node.config, SyntheticSource)
    return f"{node.config.writer.label} (at most {node.config.max_calls:,} calls)"


COST = StageCost(work, seconds, no_footprint, start_seconds=8.0, worker_gib=0.3, uncounted=uncounted)
