"""A stage's batches without Ray: from plain settings to the plan, and from the plan to what a rank receives.

The Ray feed runs the same functions ahead of the trainer; single-process training, validation and tests call them here.

    spec = FeedSpec.of_stage(stage.model_dump(), pack.uri)
    for batch in local_batches(spec, start=resume_step):
        ...
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from polyglossa.artifact import read_json
from polyglossa.engine.batch import RankBatch
from polyglossa.engine.bundles import INDEX, BundleReader
from polyglossa.engine.collate import gather_examples, rank_payloads, unpack
from polyglossa.engine.plan import Part, Plan, PlanSettings, PlanSource, StepPlan, hash63, select_sources


@dataclass(frozen=True)
class FeedSpec:
    """Where a stage's data lies and what shapes its batches. Plain values: it travels to workers."""

    pack_uri: str
    settings: PlanSettings
    chunk_tokens: int
    """Token budget of one forward pass."""
    sources: tuple[str, ...] | None = None
    """Sources trained on; None means all of the pack."""
    teacher_uri: str | None = None
    """Teacher store made from the pack."""
    teacher_width: int | None = None
    """First coordinates of the teacher's states that batches carry; None means all."""
    cache_bytes: int = field(default=64 << 20, compare=False)
    """Memory for bundles that a reader keeps."""

    @classmethod
    def of_stage(
        cls,
        stage: Mapping[str, Any],
        pack_uri: str,
        teacher_uri: str | None = None,
        teacher_width: int | None = None,
    ) -> "FeedSpec":
        """Take what shapes the batches from `StageConfig.model_dump()`."""
        settings = PlanSettings(
            global_batch=stage["global_batch"],
            negatives=stage["negatives"] if stage["hard_negatives"] else 0,
            task_negatives=stage.get("task_negatives") or {},
            epochs=stage["epochs"],
            steps=stage["steps"],
            source_weights=stage["source_weights"],
            seed=stage["seed"],
        )
        sources = tuple(stage["sources"]) if stage["sources"] is not None else None
        return cls(pack_uri, settings, stage["chunk_tokens"], sources, teacher_uri, teacher_width)


def open_plan(spec: FeedSpec) -> Plan:
    """Read the pack's index and return the stage's plan.

    Raises:
        DataError: a named source is not there, or none can be trained on.
    """
    return Plan(select_sources(_sources(spec, "bundles"), spec.sources), spec.settings)


def local_batches(
    spec: FeedSpec, *, rank: int = 0, world: int = 1, start: int = 0, stop: int | None = None
) -> Iterator[RankBatch]:
    """Make a rank's batches of steps [start, stop) in this process; `stop` None is the plan's end."""
    batches = BatchMaker(spec)
    for step in range(start, batches.plan.total_steps if stop is None else stop):
        began = time.perf_counter()
        batch = unpack(batches.payloads(step, [rank], world)[0])
        yield replace(batch, wait_seconds=time.perf_counter() - began)


def validation_batches(
    spec: FeedSpec, *, rank: int = 0, world: int = 1, limit: int | None = None
) -> Iterator[RankBatch]:
    """Make a rank's batches of one pass over the validation rows, source after source, in order.

    Args:
        spec: the stage's data; a teacher is not read.
        rank: which rank.
        world: number of ranks.
        limit: most batches of each source; None means all of its rows, the last batch may be smaller.
    """
    plan = open_plan(spec)
    reader = BundleReader(spec.pack_uri, part="validation", cache_bytes=0)
    sizes = {source.name: source.bundle_rows for source in _sources(spec, "validation")}
    step = 0
    for number, source in enumerate(plan.sources):
        for parts in _in_order(number, sizes[source.name], spec.settings.global_batch)[:limit]:
            seed = hash63(spec.settings.seed, "validation", source.name, step)
            negatives = spec.settings.negatives_of(source.task)
            planned = StepPlan(step, 0, source.name, source.task, source.in_batch, parts, 0, negatives, seed)
            yield unpack(rank_payloads(gather_examples(plan, planned, reader), [rank], world, spec.chunk_tokens)[0])
            step += 1


class BatchMaker:
    """The plan and the readers of one process: makes any step for any number of ranks."""

    def __init__(self, spec: FeedSpec):
        self.spec = spec
        self.plan = open_plan(spec)
        self._reader = BundleReader(spec.pack_uri, spec.teacher_uri, cache_bytes=spec.cache_bytes)

    def payloads(self, step: int, ranks: list[int], world: int) -> list[bytes]:
        """Make what each of `ranks` receives at a step."""
        examples = gather_examples(self.plan, self.plan.at(step), self._reader, self.spec.teacher_width)
        return rank_payloads(examples, ranks, world, self.spec.chunk_tokens)


def steps_table(spec: FeedSpec, first: int, last: int) -> str:
    """Render steps [first, last) of the plan as a text table, then where each source's rows go."""
    plan = open_plan(spec)
    rows = [("step", "epoch", "source", "task", "rows", "repeated", "negatives", "bundles")]
    for step in range(first, min(last, plan.total_steps)):
        at = plan.at(step)
        bundles = " ".join(f"{plan.sources[p.source].name}:{p.bundle}×{len(p.rows)}" for p in at.parts)
        rows.append(tuple(map(str, (step, at.epoch, at.source, at.task, at.rows, at.repeated, at.negatives, bundles))))
    report = [("source", "rows", "own", "pooled")]
    report += [(c.source, str(c.rows), str(c.own), str(c.pooled)) for c in plan.coverage()]
    skipped = [f"not trained on: {name} ({reason})" for name, reason in plan.skipped.items()]
    head = f"{plan.total_steps} steps, {plan.steps_per_epoch} an epoch, {spec.settings.global_batch} rows a step"
    return "\n".join([head, "", *_aligned(rows), "", *_aligned(report), *skipped])


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _sources(spec: FeedSpec, part: str) -> list[PlanSource]:
    return [
        PlanSource(
            name=entry["name"],
            task=entry["task"],
            in_batch=entry["in_batch"],
            bundle_rows=np.array([bundle["examples"] for bundle in entry[part]], dtype=np.int64),
            negatives=entry["negatives"],
        )
        for entry in read_json(f"{spec.pack_uri}/{INDEX}")["sources"]
    ]


def _in_order(source: int, bundle_rows: np.ndarray, size: int) -> list[tuple[Part, ...]]:
    """Batches of `size` rows over a source's bundles, laid end to end."""
    bundle = np.repeat(np.arange(len(bundle_rows)), bundle_rows)
    row = np.arange(len(bundle)) - np.repeat(np.cumsum(bundle_rows) - bundle_rows, bundle_rows)
    batches = []
    for start in range(0, len(bundle), size):
        bundles, rows = bundle[start : start + size], row[start : start + size]
        batches.append(tuple(Part(source, int(b), rows[bundles == b]) for b in np.unique(bundles)))
    return batches
