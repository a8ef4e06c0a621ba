"""Describe a training stage's feed (data, batch shape), and make batches in one process. No torch, no Ray."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from polyglossa.data.bundles import BundleReader, TeacherStore
from polyglossa.data.collate import gather_examples, rank_payloads
from polyglossa.data.pack_index import Part, read_pack_index
from polyglossa.data.plan import Plan, select_sources
from polyglossa.data.plan_types import PlanSettings, PlanSource

if TYPE_CHECKING:
    from polyglossa.recipe.sections.train import StageConfig


@dataclass(frozen=True)
class FeedSpec:
    """Where a stage's data lies and what shapes its batches. Plain values: it travels to workers."""

    pack_uri: str
    settings: PlanSettings
    chunk_tokens: int
    """Token budget of a chunk."""
    sources: tuple[str, ...] | None = None
    """Sources trained on; None means all of the pack."""
    teachers: tuple[TeacherStore, ...] = ()
    """Teacher stores made from the pack's texts; batches carry their states side by side."""
    cache_bytes: int = field(default=64 << 20, compare=False)
    """Memory for bundles that a reader keeps."""

    @classmethod
    def of_stage(
        cls,
        stage: "StageConfig",
        pack_uri: str,
        teachers: Sequence[TeacherStore] = (),
    ) -> "FeedSpec":
        """Take what shapes the batches of a recipe's training stage."""
        settings = PlanSettings(
            global_batch=stage.global_batch,
            negatives=stage.negatives if stage.hard_negatives else 0,
            scores=stage.scores,
            task_negatives=stage.task_negatives,
            epochs=stage.epochs,
            steps=stage.steps,
            source_weights=stage.source_weights,
            source_order=stage.source_order,
            seed=stage.seed,
        )
        return cls(pack_uri, settings, stage.chunk_tokens, stage.sources, tuple(teachers))


def open_plan(spec: FeedSpec) -> Plan:
    """Read the pack's index and return the stage's plan.

    Raises:
        DataError: a named source is not there, or none can be trained on.
    """
    return Plan(select_sources(read_sources(spec, "bundles"), spec.sources), spec.settings)


def read_sources(spec: FeedSpec, part: Part) -> list[PlanSource]:
    """Read the sizes of every source's training or validation bundles."""
    return [
        PlanSource(
            name=source.name,
            task=source.task,
            in_batch=source.in_batch,
            bundle_rows=np.array([bundle.examples for bundle in source.sizes_of(part)], dtype=np.int64),
            negatives=source.negatives,
        )
        for source in read_pack_index(spec.pack_uri).sources
    ]


class BatchMaker:
    """The plan and the readers of one process: makes any step for any number of ranks."""

    def __init__(self, spec: FeedSpec):
        self.spec = spec
        self.plan = open_plan(spec)
        self._reader = BundleReader(spec.pack_uri, spec.teachers, cache_bytes=spec.cache_bytes)

    def payloads(self, step: int, ranks: list[int], world: int) -> list[bytes]:
        """Make what each of `ranks` receives at a step."""
        examples = gather_examples(self.plan, self.plan.at(step), self._reader)
        return rank_payloads(examples, ranks, world, self.spec.chunk_tokens)


def steps_table(spec: FeedSpec, first: int, last: int) -> str:
    """Render steps [first, last) of the plan as a text table, then where each source's rows go."""
    plan = open_plan(spec)
    rows: list[tuple[str, ...]] = [("step", "epoch", "source", "task", "rows", "repeated", "negatives", "bundles")]
    for step in range(first, min(last, plan.total_steps)):
        at = plan.at(step)
        bundles = " ".join(f"{plan.sources[p.source].name}:{p.bundle}×{len(p.rows)}" for p in at.parts)
        rows.append(tuple(map(str, (step, at.epoch, at.source, at.task, at.rows, at.repeated, at.negatives, bundles))))
    report: list[tuple[str, ...]] = [("source", "rows", "own", "pooled")]
    report += [(c.source, str(c.rows), str(c.own), str(c.pooled)) for c in plan.coverage()]
    skipped = [f"not trained on: {name} ({reason})" for name, reason in plan.skipped.items()]
    head = f"{plan.total_steps} steps, {plan.steps_per_epoch} an epoch, {spec.settings.global_batch} rows a step"
    return "\n".join([head, "", *_align(rows), "", *_align(report), *skipped])


def _align(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
