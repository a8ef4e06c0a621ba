"""Protects the capacity plan's arithmetic: published counts, steps, rates and bytes are reproduced to the digit."""

import math
from pathlib import Path

import pytest

from polyglossa.capacity.fit import fits
from polyglossa.costing.counts import count_stage, cut_mean
from polyglossa.costing.devices import DEVICES, Calibration
from polyglossa.costing.family import Family
from polyglossa.costing.flops import forward_flops, linear_parameters, low_rank_parameters, training_flops
from polyglossa.costing.memory import GIB, least_states, states
from polyglossa.costing.work import Work
from polyglossa.engine.schedule import SCHEDULES
from polyglossa.pipeline.build import build, stage_of
from polyglossa.pipeline.stages import find_stage_of
from polyglossa.recipe import Recipe, TrainPlacement, load_recipe
from polyglossa.recipe.sections.backbone import Shape
from polyglossa.recipe.sections.train import LoraConfig, StageConfig
from polyglossa.train.cost import footprint

RECIPES = Path(__file__).parents[2] / "jobs/recipes"
SHAPE_14B = Shape(hidden=5120, mlp=17408, layers=40, heads=40, kv_heads=8)
STAGE_1_ROWS = 10_684_184 + 5_470_174 + 4_368_504 + 3_275_561 + 1_052_849 + 936_813 + 905_195


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(RECIPES / "f2llm-v2.yaml")


@pytest.fixture(scope="module")
def works(recipe: Recipe) -> dict[str, Work]:
    return works_of(recipe)


def works_of(recipe: Recipe) -> dict[str, Work]:
    """Count what each node has to do."""
    graph = build(recipe)
    family = Family(recipe, graph.nodes)
    return {node.name: find_stage_of(node).cost.work(node, family) for node in graph.nodes.values()}


def test_stage_1_reads_the_seven_published_sources(recipe: Recipe) -> None:
    assert STAGE_1_ROWS == 26_693_280
    assert count_stage(recipe, "stage1", "pack.14b.stage1").rows == round(STAGE_1_ROWS * 0.99)


def test_steps_are_rows_by_batch_and_epochs(works: dict[str, Work]) -> None:
    assert works["train.14b.stage1"].steps == round(round(26_693_280 * 0.99) / 512) == 51_614
    for member, epochs in {"14b": 2, "0.6b": 2, "330m": 3, "160m": 3, "80m": 4}.items():
        assert works[f"train.{member}.stage2"].steps == round(epochs * 17_820_000 / 512)


def test_the_published_rate_rises_in_500_steps_and_falls_along_a_cosine_to_1e_7(
    recipe: Recipe, works: dict[str, Work]
) -> None:
    for member in recipe.members:
        stage = stage_of(member, recipe.training["stage2"])
        steps = works[f"train.{member.name}.stage2"].steps

        def rate(step: int, stage: StageConfig = stage, steps: int = steps) -> float:
            shape = {"peak": stage.learning_rate, "floor": stage.min_learning_rate, "warmup_steps": stage.warmup_steps}
            return SCHEDULES[stage.schedule](step, **shape, total_steps=steps)

        assert rate(0) == 0.0
        assert rate(1) == max(1e-7, stage.learning_rate / 500)
        assert rate(500) == stage.learning_rate
        assert rate(steps - 1) == 1e-7
        assert rate(500 + (steps - 500) // 2) == pytest.approx(stage.learning_rate / 2, rel=1e-3)
        assert rate(steps // 4) > rate(steps // 2) > rate(3 * steps // 4)


def test_flops_are_two_for_each_weight_and_token_plus_attention() -> None:
    weights = 40 * (5120 * 128 * (2 * 40 + 2 * 8) + 3 * 5120 * 17408)
    assert linear_parameters(SHAPE_14B) == weights == 13_212_057_600
    assert forward_flops(SHAPE_14B, 0) == 2 * weights
    assert forward_flops(SHAPE_14B, 512) - 2 * weights == 2 * 40 * 40 * 128 * 512
    assert training_flops(SHAPE_14B, 512) == 3 * forward_flops(SHAPE_14B, 512)


def test_linear_weights_table_and_norms_are_the_whole_model() -> None:
    norms = 40 * (2 * 5120 + 2 * 128) + 5120
    assert linear_parameters(SHAPE_14B) + 151_936 * 5120 + norms == 13_990_394_880


def test_zero_divides_what_it_says() -> None:
    whole = states(1_000_000, 0, 4)
    assert sum(whole.values()) == 16_000_000
    assert states(1_000_000, 1, 4) == {"weights": 4e6, "gradients": 4e6, "optimizer": 3e6}
    assert states(1_000_000, 2, 4) == {"weights": 4e6, "gradients": 1e6, "optimizer": 3e6}
    assert states(1_000_000, 3, 4) == {"weights": 1e6, "gradients": 1e6, "optimizer": 3e6}


def test_frozen_weights_have_neither_gradients_nor_moments() -> None:
    assert states(1_000_000, 1, 4, trained=10_000) == {"weights": 4e6, "gradients": 4e4, "optimizer": 3e4}
    assert states(1_000_000, 3, 4, trained=10_000) == {"weights": 1e6, "gradients": 1e4, "optimizer": 3e4}
    assert least_states(1_000_000, 0, 1, trained=10_000) == 2e6 + 14 * 10_000
    assert training_flops(SHAPE_14B, 512, frozen=True) == 2 * forward_flops(SHAPE_14B, 512)


def test_a_low_rank_training_is_planned_by_what_it_trains() -> None:
    whole, parts = (
        works_of(load_recipe(RECIPES / "f2llm-v2.yaml", overrides))["train.14b.stage2"]
        for overrides in ([], ["training.stage2.lora={rank: 16}"])
    )
    assert whole.trained == whole.parameters == 13_990_394_880
    assert parts.trained == low_rank_parameters(SHAPE_14B, 16, LoraConfig().modules) == 64_225_280
    assert parts.parameters == whole.parameters + parts.trained
    assert parts.flops == pytest.approx(whole.flops * 2 / 3)
    one = TrainPlacement(gpus=1, resident_tokens=4096, gradient_checkpointing=True)
    needed = {name: footprint(work, one) for name, work in (("parts", parts), ("whole", whole))}
    assert {name: need is not None and fits(need, 141) for name, need in needed.items()} == {
        "parts": True,
        "whole": False,
    }


def test_a_14b_under_zero_1_on_four_devices_needs_91_gib_at_the_least() -> None:
    assert least_states(13_990_394_880, 1, 4) == 13_990_394_880 * 7
    assert math.floor(least_states(13_990_394_880, 1, 4) / GIB) == 91


def test_lengths_keep_their_mean_until_they_are_cut() -> None:
    assert cut_mean(40, 0.8, 1024)[0] == pytest.approx(40, rel=0.02)
    assert cut_mean(170, 0.8, 64)[0] < 64
    mean, square = cut_mean(100, 0.0, 1024)
    assert (mean, square) == (100, 10_000)


def test_a_step_of_stage_2_holds_the_published_number_of_texts(recipe: Recipe, works: dict[str, Work]) -> None:
    """512 queries, 512 positives and 6.9 negatives each on average over the tasks."""
    assert works["train.14b.stage2"].step_texts == pytest.approx(512 * (2 + 6.9))


def test_every_gpu_of_the_table_is_below_its_peak() -> None:
    for device in Calibration(DEVICES).devices.values():
        assert 0 < device.training_rate < 989e12
        assert device.training_rate <= device.embedding_rate
