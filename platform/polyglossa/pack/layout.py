"""Lay out a pack: its files, the runs that sort its examples, and the groups whose texts are gathered together. Pure.

A part is a source's training or validation rows. Its examples are cut by the hash that orders them into runs of bounded
size, so a source of 99 % of all rows is many runs and many small ones share one. Runs and buckets shape no output.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polyglossa.artifact import Artifact
from polyglossa.errors import DataError
from polyglossa.pack.bundling import group_rows
from polyglossa.recipe.sections.pack import PackConfig

SPLITS = {"bundles": "train", "validation": "validation"}
"""Split of each part."""


@dataclass(frozen=True)
class Sizes:
    """How much one task takes."""

    file_pairs: int = 524_288
    """Most pairs of one file; a Parquet footer grows with its row groups: about 2,000 bundles a file."""
    run_pairs: int = 131_072
    """Pairs that are sorted together."""
    read_bytes: int = 32 * 2**20
    """Stored bytes of pairs or documents that are read by one task."""
    document_bytes: int = 48 * 2**20
    """Stored bytes of documents of one bucket."""
    driver_bytes: int = 2**20
    """Stored bytes of a corpus up to which all is done on the driver: a second or two; workers start no faster."""


@dataclass(frozen=True)
class Job:
    """One file of the artifact."""

    source: str
    task: str
    part: str
    """`bundles` or `validation`."""
    shard: int
    shards: int

    @property
    def path(self) -> str:
        """Where the file lies inside the artifact."""
        number = f".{self.shard:05d}" if self.shard else ""
        return f"{self.part}/{self.source}{number}.parquet"


@dataclass(frozen=True)
class Part:
    """Rows of one source that are packed in one order."""

    source: str
    split: str
    first_run: int
    runs: int

    def run_of(self, order: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Run of each example, by the upper half of the hash that orders it."""
        return self.first_run + ((order >> np.uint64(32)) * np.uint64(self.runs) >> np.uint64(32)).astype(np.int64)


@dataclass(frozen=True)
class Group:
    """Examples [start, stop) of a part, whole bundles of one file."""

    number: int
    """Among all groups of the pack."""
    start: int
    stop: int


def plan_files(config: PackConfig, inputs: Mapping[str, Artifact], file_pairs: int = Sizes.file_pairs) -> list[Job]:
    """List the files of the artifact, source by source.

    Args:
        config: which sources.
        inputs: as for `run`.
        file_pairs: most pairs of one file.

    Raises:
        DataError: a source is unknown, or none has rows.
    """
    described = inputs["corpus"].read_json("sources.json")
    jobs = []
    for name in _select(config.sources, described):
        rows = described[name]["rows"]
        for part, split in SPLITS.items():
            shards = -(-min(rows.get(split, 0), most_examples(config, part) or rows.get(split, 0)) // file_pairs)
            jobs += [Job(name, described[name]["task"], part, shard, shards) for shard in range(shards)]
    if not jobs:
        raise DataError("pack: the chosen sources hold no training row. Choose others under `sources`.")
    return jobs


def plan_parts(jobs: Sequence[Job], described: Mapping[str, Any], run_pairs: int) -> list[Part]:
    """Give every part of the files its runs, in their order.

    Args:
        jobs: the files.
        described: rows of each source by split (`sources.json` of the corpus).
        run_pairs: pairs of one run.
    """
    parts: list[Part] = []
    run, held = 0, 0
    for job in jobs:
        if job.shard:
            continue
        rows = described[job.source]["rows"][SPLITS[job.part]]
        if held and held + rows > run_pairs:
            run, held = run + 1, 0
        runs = max(1, -(-rows // run_pairs))
        parts.append(Part(job.source, SPLITS[job.part], run, runs))
        run, held = run + runs - 1, held + rows if runs == 1 else run_pairs
    return parts


def groups_of(jobs: Sequence[Job], examples: Mapping[tuple[str, str], int], bundle_rows: int) -> list[list[Group]]:
    """Cut the examples of every file into groups.

    Args:
        jobs: the files.
        examples: examples of each (source, part).
        bundle_rows: examples of a bundle.

    Returns:
        Groups of each file; a file of more shards than bundles has none.
    """
    found: list[list[Group]] = []
    number = 0
    for job in jobs:
        rows = examples[job.source, job.part]
        bundles = -(-rows // bundle_rows)
        first, last = (min(rows, bundles * (job.shard + i) // job.shards * bundle_rows) for i in (0, 1))
        starts = range(first, last, group_rows(bundle_rows))
        found.append([Group(number + i, start, min(last, start + starts.step)) for i, start in enumerate(starts)])
        number += len(starts)
    return found


def most_examples(config: PackConfig, part: str) -> int | None:
    """Most examples of a source in a part; validation is never capped."""
    return config.max_examples if part == "bundles" else None


def _select(names: Sequence[str] | None, described: Mapping[str, Any]) -> list[str]:
    for pattern in names or ():
        if not fnmatch.filter(described, pattern):
            raise DataError(f"sources: {pattern!r} is not in the corpus; it has {', '.join(described)}.")
    return [name for name in sorted(described) if names is None or any(fnmatch.fnmatchcase(name, p) for p in names)]
