"""The plan: every row is trained, none twice in a batch, any step without the ones before it (promises 1, 2, 6)."""

import random
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.toy_packs import ToySource, plan_source
from polyglossa.data.counter_rng import permutation
from polyglossa.data.plan import Plan
from polyglossa.data.plan_types import PlanSettings, StepPlan
from polyglossa.errors import DataError

# 45 sources like those of ../shared/data: 13 of them smaller than a batch of 512.
MANY = [
    ToySource(f"s{number:02d}", rows, task)
    for number, (rows, task) in enumerate(
        [(17 + 37 * n, "retrieval") for n in range(9)]
        + [(211 + 70 * n, "bitext") for n in range(4)]
        + [(512 + 97 * n, "retrieval") for n in range(26)]
        + [(700 + 300 * n, "bitext") for n in range(6)]
    )
]


def make(sources: list[ToySource], **kwargs: object) -> Plan:
    return Plan([plan_source(source) for source in sources], PlanSettings(**{"global_batch": 64, **kwargs}))


def rows_of(plan: Plan, step: StepPlan) -> list[tuple[str, int, int]]:
    return [(plan.sources[part.source].name, part.bundle, int(row)) for part in step.parts for row in part.rows]


def test_every_row_of_45_sources_is_seen_each_epoch_and_13_of_them_are_smaller_than_a_batch() -> None:
    assert len(MANY) == 45
    assert sum(source.rows < 512 for source in MANY) == 13
    plan = make(MANY, global_batch=512, epochs=2)
    total = sum(source.rows for source in MANY)
    for epoch in range(2):
        steps = [plan.at(epoch * plan.steps_per_epoch + step) for step in range(plan.steps_per_epoch)]
        first_time = [row for step in steps for row in rows_of(plan, step)[: step.rows - step.repeated]]
        assert len(first_time) == len(set(first_time)) == total
        assert {step.epoch for step in steps} == {epoch}
        assert sum(step.rows for step in steps) == total + sum(step.repeated for step in steps)


def test_every_batch_is_full_and_holds_no_row_twice() -> None:
    plan = make(MANY, global_batch=512, epochs=2)
    for step in range(plan.total_steps):
        rows = rows_of(plan, plan.at(step))
        assert len(rows) == len(set(rows)) == 512


def test_a_batch_is_of_one_source_or_of_one_tasks_pool() -> None:
    plan = make(MANY, global_batch=512)
    task_of = {source.name: source.task for source in MANY}
    for number in range(plan.total_steps):
        step = plan.at(number)
        names = {name for name, _, _ in rows_of(plan, step)}
        assert {task_of[name] for name in names} == {step.task}
        assert names == {step.source} or step.source == f"pool/{step.task}"


def test_rows_of_a_small_source_stay_together_in_the_pool() -> None:
    plan = make([ToySource(f"s{n}", 16) for n in range(16)], global_batch=64)
    for number in range(plan.total_steps):
        names = [name for name, _, _ in rows_of(plan, plan.at(number))]
        assert len(set(names)) == 4
        assert sum(a != b for a, b in pairwise(names)) == 3


def test_the_tail_of_a_lone_source_is_completed_from_its_own_rows() -> None:
    plan = make([ToySource("only", 100)], epochs=3)
    assert plan.steps_per_epoch == 2
    for epoch in range(3):
        rows = [row for step in (0, 1) for row in rows_of(plan, plan.at(2 * epoch + step))]
        assert set(Counter(rows).values()) <= {1, 2}
        assert len(set(rows)) == 100


def test_a_corpus_smaller_than_a_batch_trains_on_all_its_rows_at_once() -> None:
    plan = make([ToySource("a", 20), ToySource("b", 7)], steps=4)
    assert [len(set(rows_of(plan, plan.at(step)))) for step in range(4)] == [27] * 4
    assert rows_of(plan, plan.at(0)) != rows_of(plan, plan.at(1))


def test_a_step_needs_no_step_before_it() -> None:
    whole, late = make(MANY), make(MANY)
    wanted = [rows_of(whole, whole.at(step)) for step in range(whole.total_steps)]
    for step in (whole.total_steps - 1, 17, 400, 0):
        assert rows_of(late, late.at(step)) == wanted[step]
        assert late.at(step).seed == whole.at(step).seed


def test_more_steps_do_not_change_the_first_ones() -> None:
    short, long = make(MANY, steps=50), make(MANY, steps=5000)
    assert all(rows_of(short, short.at(s)) == rows_of(long, long.at(s)) for s in range(50))


def test_epochs_and_seeds_differ_in_order() -> None:
    plan, other = make([ToySource("a", 640)], epochs=2), make([ToySource("a", 640)], seed=1)
    first = [rows_of(plan, plan.at(step)) for step in range(10)]
    second = [rows_of(plan, plan.at(step)) for step in range(10, 20)]
    assert sorted(chain(*first)) == sorted(chain(*second))
    assert first != second
    assert first != [rows_of(other, other.at(step)) for step in range(10)]


def test_sources_interleave_in_proportion_to_their_rows() -> None:
    plan = make([ToySource("large", 64 * 60), ToySource("small", 64 * 20)])
    for first in range(0, 80, 8):
        part = Counter(plan.at(step).source for step in range(first, first + 8))
        assert 1 <= part["small"] <= 3


def test_weights_set_the_share_of_steps() -> None:
    sources = [ToySource("large", 64 * 90), ToySource("small", 64 * 10)]
    plan = make(sources, source_weights={"large": 1.0, "small": 1.0}, steps=200)
    counts = Counter(plan.at(step).source for step in range(200))
    assert counts == {"large": 100, "small": 100}
    seen = plan.rows_seen(0, 200)["small"]
    assert seen == dict.fromkeys(range(10), 640)


def test_weights_must_name_every_source() -> None:
    with pytest.raises(DataError, match=r"no positive weight for b; weigh every source"):
        make([ToySource("a", 64), ToySource("b", 64)], source_weights={"a": 1.0})


def test_coverage_adds_up_to_the_rows_of_each_source() -> None:
    plan = make(MANY, global_batch=512)
    for line, source in zip(plan.coverage(), MANY, strict=True):
        assert line.own + line.pooled == line.rows == source.rows
        assert line.pooled == source.rows % 512


def test_rows_seen_counts_what_the_steps_hold() -> None:
    plan = make(MANY, global_batch=512)
    seen = plan.rows_seen(0, plan.steps_per_epoch)
    repeated = sum(plan.at(step).repeated for step in range(plan.steps_per_epoch))
    assert sum(sum(counts.values()) for counts in seen.values()) == sum(s.rows for s in MANY) + repeated


def test_sources_without_anything_to_learn_from_are_skipped_with_a_reason() -> None:
    sources = [ToySource("pairs", 64), ToySource("kinds", 64, "classification", negatives=3)]
    plan = make(sources)
    assert plan.skipped == {"kinds": "classification learns from hard negatives only, and none are read"}
    assert not make(sources, negatives=1).skipped
    with pytest.raises(DataError, match="no source of the pack can be trained on"):
        make(sources[1:])


def test_negatives_per_query_follow_the_task() -> None:
    settings_ = PlanSettings(64, negatives=7, task_negatives={"clustering": 9, "classification": 1})
    assert [settings_.negatives_of(task) for task in ("retrieval", "clustering", "classification")] == [7, 9, 1]


def test_the_order_is_the_stored_one_on_any_machine() -> None:
    assert permutation(8, 0, "golden").tolist() == GOLDEN_PERMUTATION
    plan = make([ToySource("a", 150), ToySource("b", 40)])
    assert [(plan.at(step).source, rows_of(plan, plan.at(step))[0]) for step in range(4)] == GOLDEN_STEPS


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=8),
    batch=st.integers(2, 80),
    slices=st.integers(1, 5),
)
def test_any_sizes_are_covered_once_an_epoch(sizes: list[int], batch: int, slices: int) -> None:
    sources = [ToySource(f"s{number}", rows, ("retrieval", "bitext")[number % 2]) for number, rows in enumerate(sizes)]
    plan = make(sources, global_batch=batch, slices=slices)
    steps = [plan.at(step) for step in range(plan.steps_per_epoch)]
    rows = [row for step in steps for row in rows_of(plan, step)[: step.rows - step.repeated]]
    assert len(rows) == len(set(rows)) == sum(sizes)
    for step in steps:
        held = rows_of(plan, step)
        assert len(held) == len(set(held))
        of_task = sum(source.rows for source in sources if source.task == step.task)
        assert len(held) == min(batch, of_task)


def test_a_plan_of_sixty_million_rows_is_made_in_a_moment() -> None:
    plan = make([ToySource(f"s{n}", 119_000) for n in range(502)], global_batch=512)
    step = plan.at(plan.total_steps - 1)
    assert step.rows == 512
    assert np.unique(plan.at(5).parts[0].rows).size == len(plan.at(5).parts[0].rows)


GOLDEN_PERMUTATION = [1, 4, 0, 6, 7, 2, 5, 3]
GOLDEN_STEPS = [("a", ("a", 1, 9)), ("pool/retrieval", ("b", 1, 0)), ("a", ("a", 3, 15)), ("a", ("a", 1, 12))]


def drawn_as_the_script_does(batches: dict[str, int], epoch: int) -> list[str]:
    """The order of files in an epoch, as the authors' MultiLoader draws it."""
    rng, names = random.Random(epoch), sorted(batches)
    weights, left, order = [batches[name] for name in names], dict(batches), []
    while names:
        name = rng.choices(names, weights=weights)[0]
        if left[name]:
            left[name] -= 1
            order.append(name)
        else:
            place = names.index(name)
            names.pop(place)
            weights.pop(place)
    return order


def test_drawn_sources_follow_each_other_as_in_the_published_script_and_each_row_is_still_seen() -> None:
    sources = [ToySource("beta", 640), ToySource("Alpha", 320), ToySource("gamma", 64)]
    plan = make(sources, source_order="drawn", epochs=2)
    for epoch in range(2):
        steps = [plan.at(epoch * plan.steps_per_epoch + step) for step in range(plan.steps_per_epoch)]
        wanted = drawn_as_the_script_does({"beta": 10, "Alpha": 5, "gamma": 1}, epoch)
        assert [step.source for step in steps] == wanted
        assert len({row for step in steps for row in rows_of(plan, step)}) == 1024


def test_drawn_order_takes_weights_for_turns_where_a_recipe_gives_them() -> None:
    sources = [ToySource("a", 640), ToySource("b", 640)]
    plan = make(sources, source_order="drawn", source_weights={"a": 3.0, "b": 1.0})
    turns = Counter(plan.at(step).source for step in range(plan.steps_per_epoch))
    assert turns == {"a": 15, "b": 5}
