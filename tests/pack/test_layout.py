"""Laying out a pack: a source of nearly all rows is many runs, small ones share one, and groups are whole bundles."""

from itertools import pairwise

import numpy as np

from polyglossa.pack.layout import Job, groups_of, plan_parts


def jobs_of(rows: dict[str, int], shards: int = 1) -> tuple[list[Job], dict[str, dict[str, dict[str, int]]]]:
    jobs = [Job(source, "retrieval", "bundles", shard, shards) for source in rows for shard in range(shards)]
    return jobs, {source: {"rows": {"train": count}} for source, count in rows.items()}


def test_a_source_of_nearly_all_rows_is_cut_by_hash_and_small_ones_share_a_run() -> None:
    jobs, described = jobs_of({"a": 10, "b": 40, "large": 9900, "y": 10, "z": 40})
    parts = {part.source: part for part in plan_parts(jobs, described, run_pairs=100)}
    assert (parts["a"].first_run, parts["a"].runs) == (parts["b"].first_run, parts["b"].runs) == (0, 1)
    assert (parts["large"].first_run, parts["large"].runs) == (1, 99)
    assert parts["y"].first_run == parts["z"].first_run == 100
    order = np.random.default_rng(0).integers(0, 2**64, 9900, np.uint64)
    run = parts["large"].run_of(order)
    counts = np.bincount(run, minlength=100)[1:]
    assert counts.min() > 50
    assert counts.max() < 160
    assert (np.diff(run[np.argsort(order)]) >= 0).all()  # runs follow each other in the order that is read


def test_groups_are_whole_bundles_of_one_file_and_hold_every_example_once() -> None:
    jobs, _ = jobs_of({"a": 100_000}, shards=3)
    groups = groups_of(jobs, {("a", "bundles"): 99_990}, bundle_rows=256)
    flat = [group for own in groups for group in own]
    assert [group.number for group in flat] == list(range(len(flat)))
    assert flat[0].start == 0
    assert flat[-1].stop == 99_990
    assert all(left.stop == right.start for left, right in pairwise(flat))
    assert all(group.start % 256 == 0 and group.stop - group.start <= 16_384 for group in flat)
