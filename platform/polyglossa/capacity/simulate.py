"""The step plan, packing and feed of a stage far larger than the machine, from length statistics alone.

The plan, the layout and the payloads are the engine's own code on synthetic lengths: what is counted here is what a
run would do. Storage and Ray's hand-out of blocks are rates that are given.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from polyglossa.costing.counts import draw_lengths
from polyglossa.data.collate import GlobalBatch, rank_payloads
from polyglossa.data.counter_rng import hash63
from polyglossa.data.layout import DUMMY, chunk_texts, deal
from polyglossa.data.plan import Plan
from polyglossa.data.plan_types import PlanSettings, PlanSource, StepPlan

BUNDLE_ROWS = 256
_TOKEN_BYTES = 2.5  # of a token in a bundle, as stored
_SOURCE_SPREAD = 0.4  # of sources' mean lengths (log)
_SAMPLED_RANKS = 2


@dataclass(frozen=True)
class Scenario:
    """What is simulated."""

    rows: int
    sources: int
    query_tokens: float
    document_tokens: float
    spread: float
    stored_negatives: float
    negatives: int
    global_batch: int
    max_tokens: int
    chunk_tokens: int
    teacher_width: int = 0
    largest: int | None = None
    """Rows of a source at most."""
    steps_per_block: int = 8
    blocks_per_task: int = 16
    readers: int = 2
    """Tasks that make batches at the same time, each on a CPU of its own."""
    read_rate: float = 200e6
    """Bytes/s that a reader gets from storage and unpacks."""
    hand_out_rate: float = 300.0
    """Blocks/s that Ray Data's splitter hands to ranks."""
    seed: int = 0


@dataclass(frozen=True)
class PlanFigures:
    """The plan itself, whatever the world."""

    rows: int
    steps: int
    largest_source: int
    pooled_share: float
    """Rows in batches of a task's pool."""
    repeated_share: float
    """Rows of sampled steps that complete a pool's last batch."""
    build_seconds: float
    step_milliseconds: float
    bundles_per_step: float
    step_tokens: float
    read_bytes_per_step: float


@dataclass(frozen=True)
class WorldFigures:
    """One number of workers."""

    workers: int
    padding: float
    """Share of padded chunks' slots without a token (0 where attention is packed)."""
    imbalance: float
    """Tokens of the fullest rank over the mean."""
    dummies: float
    """Share of chunk slots that hold nothing."""
    payload_bytes: float
    """Of one rank and step."""
    make_seconds: float
    """CPU seconds in which one step is laid out and packed for all ranks."""
    feed_bytes: float
    """Bytes of one step for all ranks."""
    object_store_bytes: float
    """Of blocks in the making and handed out, at most."""
    steps_per_second: dict[str, float]
    """Of each part of the feed."""

    @property
    def bottleneck(self) -> str:
        """The slowest part of the feed."""
        return min(self.steps_per_second, key=lambda part: self.steps_per_second[part])


def simulate(
    scenario: Scenario, workers: Sequence[int], *, sampled: int = 12
) -> tuple[PlanFigures, list[WorldFigures]]:
    """Simulate a stage.

    Args:
        scenario: sizes, lengths and rates.
        workers: world sizes.
        sampled: steps that are laid out.
    """
    sizes = source_sizes(scenario)
    started = time.perf_counter()
    plan = Plan([_source(number, rows, scenario) for number, rows in enumerate(sizes)], _settings(scenario))
    built = time.perf_counter() - started
    steps = np.linspace(0, plan.total_steps - 1, sampled).astype(int).tolist()
    started = time.perf_counter()
    planned = [plan.at(step) for step in steps]
    each = (time.perf_counter() - started) / sampled
    batches = [synthetic_batch(step, scenario) for step in planned]
    coverage = plan.coverage()
    figures = PlanFigures(
        rows=int(sizes.sum()),
        steps=plan.total_steps,
        largest_source=int(sizes.max()),
        pooled_share=sum(source.pooled for source in coverage) / int(sizes.sum()),
        repeated_share=sum(step.repeated for step in planned) / sum(step.rows for step in planned),
        build_seconds=built,
        step_milliseconds=1000 * each,
        bundles_per_step=float(np.mean([len({(p.source, p.bundle) for p in step.parts}) for step in planned])),
        step_tokens=float(np.mean([batch.length_T.sum() for batch in batches])),
        read_bytes_per_step=float(np.mean([_bundle_bytes(step, scenario) for step in planned])),
    )
    return figures, [_world(world, batches, figures, scenario) for world in workers]


def source_sizes(scenario: Scenario) -> NDArray[np.int64]:
    """Rows of each source: a power law, as data sets are, cut at `largest`, adding up exactly."""
    share = 1.0 / np.arange(1, scenario.sources + 1)
    sizes = np.maximum(1, share / share.sum() * scenario.rows)
    if scenario.largest is not None:
        most = max(scenario.largest, -(-scenario.rows // scenario.sources))
        for _ in range(20):  # what a cap cuts off goes to those below it
            sizes = np.minimum(sizes, most)
            below = sizes < most
            if not below.any():
                break
            sizes[below] *= (scenario.rows - sizes[~below].sum()) / sizes[below].sum()
    whole = np.maximum(1, np.floor(sizes)).astype(np.int64)
    whole[-1] = max(1, whole[-1] + scenario.rows - whole.sum())
    return whole


def _source(number: int, rows: int, scenario: Scenario) -> PlanSource:
    task = "clustering" if number % 15 == 14 else "retrieval"
    bundles = np.full(-(-rows // BUNDLE_ROWS), BUNDLE_ROWS, dtype=np.int64)
    bundles[-1] = rows - BUNDLE_ROWS * (len(bundles) - 1)
    return PlanSource(f"source{number}", task, task == "retrieval", bundles, int(rows * scenario.stored_negatives) or 1)


def _settings(scenario: Scenario) -> PlanSettings:
    return PlanSettings(global_batch=scenario.global_batch, negatives=scenario.negatives, seed=scenario.seed)


def synthetic_batch(step: StepPlan, scenario: Scenario) -> GlobalBatch:
    """Draw the texts of a step: lengths of its source, no text twice."""
    rng = np.random.default_rng([scenario.seed, step.step])
    scale = float(np.random.default_rng(hash63(step.source)).lognormal(0, _SOURCE_SPREAD))
    rows, count = step.rows, step.negatives
    queries, documents = (
        draw_lengths(rng, texts, scale * mean, scenario.spread, scenario.max_tokens)
        for texts, mean in ((rows, scenario.query_tokens), (rows * (1 + count), scenario.document_tokens))
    )
    length_T = np.concatenate([queries, documents])
    numbers = np.arange(rows)
    width = scenario.teacher_width
    return GlobalBatch(
        plan=replace(step, parts=()),
        tokens=np.zeros(int(length_T.sum()), dtype=np.uint32),
        length_T=length_T,
        query_Q=numbers,
        positive_Q=numbers + rows,
        negatives_QN=2 * rows + np.arange(rows * count).reshape(rows, count),
        group_Q=numbers,
        source_Q=np.zeros(rows, dtype=np.int64),
        positive_score_Q=np.full(rows, np.nan, dtype=np.float32),
        teacher_TE=np.zeros((len(length_T), width), dtype=np.float16) if width else None,
    )


def _bundle_bytes(step: StepPlan, scenario: Scenario) -> float:
    """Stored bytes of the bundles that a step opens: a slice of each is used."""
    bundles = len({(part.source, part.bundle) for part in step.parts})
    row_tokens = scenario.query_tokens + (1 + scenario.stored_negatives) * scenario.document_tokens
    texts = 2 + scenario.stored_negatives
    return bundles * BUNDLE_ROWS * (row_tokens * _TOKEN_BYTES + texts * 2 * scenario.teacher_width)


def _world(world: int, batches: Sequence[GlobalBatch], figures: PlanFigures, scenario: Scenario) -> WorldFigures:
    padding, imbalance, dummies, payload, seconds = np.array([_lay_out(b, world, scenario) for b in batches]).mean(
        axis=0
    )
    feed = payload * world
    blocks = scenario.readers * scenario.blocks_per_task * world
    making = figures.step_milliseconds / 1000 + seconds
    return WorldFigures(
        workers=world,
        padding=float(padding),
        imbalance=float(imbalance),
        dummies=float(dummies),
        payload_bytes=float(payload),
        make_seconds=float(making),
        feed_bytes=float(feed),
        object_store_bytes=float(blocks * scenario.steps_per_block * payload),
        steps_per_second={
            "reading bundles": scenario.readers * scenario.read_rate / figures.read_bytes_per_step,
            "making batches": scenario.readers / float(making),
            "handing out blocks": scenario.hand_out_rate * scenario.steps_per_block / world,
        },
    )


def _lay_out(batch: GlobalBatch, world: int, scenario: Scenario) -> tuple[float, float, float, float, float]:
    """Padding, imbalance, dummies, bytes of a rank, and CPU seconds of packing one step for all ranks."""
    chunks = chunk_texts(batch.length_T, scenario.chunk_tokens)
    dealt = deal(chunks, world)
    tokens_C = np.add.reduceat(batch.length_T[chunks.order_T], chunks.bounds_C1[:-1])
    tokens_W = np.where(dealt.chunk_WS == DUMMY, 0, tokens_C[dealt.chunk_WS]).sum(axis=1)
    ranks = list(range(0, world, max(1, world // _SAMPLED_RANKS)))[:_SAMPLED_RANKS]
    began = time.perf_counter()
    rank_payloads(batch, [], world, scenario.chunk_tokens)
    between = time.perf_counter()
    payloads = rank_payloads(batch, ranks, world, scenario.chunk_tokens)
    shared, all_of_it = between - began, time.perf_counter() - between
    return (
        1 - float(batch.length_T.sum()) / chunks.padded_tokens,
        float(tokens_W.max() / tokens_W.mean()),
        float((dealt.chunk_WS == DUMMY).mean()),
        float(np.mean([len(payload) for payload in payloads])),
        shared + world * max(0.0, all_of_it - shared) / len(ranks),
    )
