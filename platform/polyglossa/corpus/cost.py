"""What the corpus stage costs: rows and bytes that are read, cleaned and written."""

from polyglossa.costing.devices import Device
from polyglossa.costing.embedding import cpus_of
from polyglossa.costing.family import Family
from polyglossa.costing.work import PlannedNode, StageCost, Work, no_footprint
from polyglossa.recipe import StagePlacement

_ROWS_PER_CPU = 18_000.0  # rows/s that are read, cleaned and written
_CLEANED_PER_CPU = 4e6  # bytes of text/s, the same
_NEAR_PASSES = 2.5  # what looking for near-duplicates makes of the time


def work(node: PlannedNode, family: Family) -> Work:
    """Count rows and bytes of the sources."""
    expect = family.recipe.expect
    rows = expect.corpus_rows if expect is not None and expect.corpus_rows else family.largest_pack.rows
    text = family.corpus_bytes
    passes = _NEAR_PASSES if family.recipe.corpus.near_duplicates is not None else 1.0
    return Work(rows=rows, text_bytes=text, passes=passes, stored_bytes=text / 2)


def seconds(work: Work, placement: StagePlacement, device: Device) -> float:
    """Divide rows and bytes by what the workers' CPUs clean."""
    cpus = cpus_of(placement)
    return work.passes * (work.rows / (cpus * _ROWS_PER_CPU) + work.text_bytes / (cpus * _CLEANED_PER_CPU))


COST = StageCost(work, seconds, no_footprint, start_seconds=4.0, worker_gib=0.3, task_gib=0.6, fills_nodes=True)
