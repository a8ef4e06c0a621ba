"""Protects the simulation: the engine's own plan, layout and payloads at 60 M rows, 502 sources and 512 workers."""

from dataclasses import replace
from pathlib import Path

import pytest

from polyglossa.capacity.simulate import Scenario, simulate, source_sizes, synthetic_batch
from polyglossa.cli.costs.simulate import figures_table, scenario_of
from polyglossa.data.layout import chunk_texts, deal
from polyglossa.data.plan_types import StepPlan
from polyglossa.errors import UserError
from polyglossa.recipe import load_recipe

RECIPE = load_recipe(Path(__file__).parents[2] / "jobs/recipes/f2llm-v2.yaml")
PUBLISHED = scenario_of(RECIPE, "stage2", 60_000_000, 502, 2, 0)
SMALL = Scenario(
    rows=20_000, sources=20, query_tokens=10, document_tokens=20, spread=0.5, stored_negatives=4, negatives=2,
    global_batch=64, max_tokens=64, chunk_tokens=128,
)  # fmt: skip


def test_sixty_million_rows_over_502_sources_are_planned_to_the_row() -> None:
    figures, _ = simulate(PUBLISHED, [], sampled=2)
    assert figures.rows == 60_000_000
    assert figures.steps == pytest.approx(60_000_000 / 512, rel=1e-3)
    assert figures.build_seconds < 5


def test_sizes_add_up_whether_a_cap_cuts_them_or_not() -> None:
    for largest in (None, 80_000):
        sizes = source_sizes(replace(PUBLISHED, rows=18_000_000, largest=largest))
        assert sizes.sum() == 18_000_000
        assert len(sizes) == 502
    assert source_sizes(replace(PUBLISHED, rows=18_000_000, largest=80_000))[:-1].max() <= 80_000


def test_more_workers_are_fed_less_evenly_and_slower() -> None:
    _, (few, many) = simulate(SMALL, [2, 32], sampled=3)
    assert 1 <= few.imbalance <= many.imbalance
    assert few.dummies <= many.dummies
    assert many.feed_bytes > few.feed_bytes
    assert many.steps_per_second["handing out blocks"] < few.steps_per_second["handing out blocks"]
    assert many.bottleneck in many.steps_per_second


def test_smaller_chunks_spread_more_evenly() -> None:
    _, (coarse,) = simulate(replace(SMALL, chunk_tokens=1024), [16], sampled=3)
    _, (fine,) = simulate(SMALL, [16], sampled=3)
    assert fine.imbalance < coarse.imbalance


def test_a_teacher_s_states_travel_to_every_rank() -> None:
    _, (without,) = simulate(SMALL, [4], sampled=2)
    _, (taught,) = simulate(replace(SMALL, teacher_width=32), [4], sampled=2)
    assert taught.payload_bytes - without.payload_bytes >= 64 * (2 + 2) * 32 * 2 * 0.9


def test_the_tokens_of_a_step_are_those_that_ranks_get() -> None:
    batch = synthetic_batch(StepPlan(0, 0, "source0", "retrieval", True, (), 0, 2, 0), SMALL)
    chunks = chunk_texts(batch.length_T, SMALL.chunk_tokens)
    dealt = deal(chunks, 8)
    assert sorted(chunk for chunk in dealt.chunk_WS.ravel().tolist() if chunk >= 0) == list(range(chunks.count))


def test_figures_are_a_table_that_names_the_bottleneck() -> None:
    figures, worlds = simulate(SMALL, [4], sampled=2)
    shown = figures_table(figures, worlds)
    assert "20,000 rows" in shown
    assert worlds[0].bottleneck in shown


def test_a_stage_without_lengths_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs training\.stage9"):
        scenario_of(RECIPE, "stage9", 1000, 2, 1, 0)
