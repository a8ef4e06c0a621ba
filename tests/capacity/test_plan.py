"""Protects `polyglossa plan`: seconds without data, torch or Ray; what does not fit is refused with the arithmetic."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from polyglossa.capacity.estimate import CapacityPlan, estimate, longest_path
from polyglossa.capacity.node_groups import read_groups, read_prices
from polyglossa.capacity.processor import with_this_processor
from polyglossa.costing.devices import (
    DEVICES,
    FLOAT32_CORE,
    NATIVE_CORE,
    Calibration,
    measured_device,
    read_calibration,
    write_calibration,
)
from polyglossa.costing.family import Family
from polyglossa.costing.work import Work
from polyglossa.errors import RecipeError
from polyglossa.pipeline.build import build
from polyglossa.recipe import Profile, TrainPlacement, load_profile, load_recipe
from polyglossa.train.cost import step_of, work

ROOT = Path(__file__).parents[2]
RECIPES, PROFILES = ROOT / "jobs/recipes", ROOT / "cluster/profiles"
SPEC = ROOT / "cluster/spec.yaml"
IMPOSSIBLE = "{name: impossible, train: {workers: 4, gpus: 1, zero: 1, device: H100-80G}}"


def planned(recipe: str, profile: Profile, *overrides: str, prices: dict[str, float] | None = None) -> CapacityPlan:
    loaded = load_recipe(RECIPES / f"{recipe}.yaml", overrides)
    return estimate(loaded, profile, Calibration(DEVICES), read_groups(SPEC), prices)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "polyglossa.cli", "plan", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("recipe", ["f2llm-v2", "f2llm-v2-improved", "f2llm-v2-stage2"])
def test_a_plan_loads_neither_torch_nor_ray(recipe: str) -> None:
    done = command(f"jobs/recipes/{recipe}.yaml", "--profile", "cluster/profiles/f2llm-v2.yaml", "--json")
    assert done.returncode == 0, done.stderr[-500:]
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not {"torch", "ray", "transformers", "mteb"} & loaded
    plan = json.loads(done.stdout)
    assert plan["members"]["14b"]["parameters"] == 13_990_394_880
    assert plan["misfits"] == []


def test_ml_embed_and_the_second_stage_alone_fit_and_cost_less_than_the_whole() -> None:
    profile = load_profile(PROFILES / "f2llm-v2.yaml")
    plans = [planned(name, profile) for name in ("ml-embed", "f2llm-v2-stage2", "f2llm-v2")]
    assert not any(plan.misfits for plan in plans)
    hours = [plan.hours for plan in plans]
    assert hours == sorted(hours)
    assert hours[1] < 0.7 * hours[2]


def test_the_impossible_profile_is_refused_with_the_arithmetic_and_the_nearest_that_fits(tmp_path: Path) -> None:
    (tmp_path / "impossible.yaml").write_text(IMPOSSIBLE)
    done = command("jobs/recipes/f2llm-v2.yaml", "--profile", str(tmp_path / "impossible.yaml"))
    assert done.returncode == 2
    refused = next(part for part in done.stdout.split("\n\n") if part.startswith("does not fit: train.14b.stage1"))
    assert "weights 52.1 + gradients 52.1 + optimizer 39.1" in refused
    assert "H100-80G has 80 GiB" in refused
    assert "13,990,394,880 × (2 + 2 + 12/4) bytes = 91.2 GiB" in refused
    assert "Nearest that fits: train." in refused


def test_the_nearest_setting_fits_and_no_smaller_change_does(tmp_path: Path) -> None:
    (tmp_path / "impossible.yaml").write_text(IMPOSSIBLE)
    plan = planned("f2llm-v2", load_profile(tmp_path / "impossible.yaml"))
    (first, *_) = [misfit for misfit in plan.misfits if misfit.node == "train.14b.stage1"]
    settings = dict(
        part.split(": ") for part in first.remedy.removeprefix("Nearest that fits: ").rstrip(".").split(", ")
    )
    remedied = {key.removeprefix("train."): json.loads(value) for key, value in settings.items()}
    train = TrainPlacement.model_validate({"workers": 4, "gpus": 1.0, "zero": 1, "device": "H100-80G"} | remedied)
    again = planned("f2llm-v2", Profile(name="nearest", train=train))
    assert "train.14b.stage1" not in {misfit.node for misfit in again.misfits}


def test_the_longest_path_ends_in_the_served_family_and_is_shorter_than_the_whole() -> None:
    plan = planned("f2llm-v2", load_profile(PROFILES / "f2llm-v2.yaml"))
    assert plan.longest_path[0] == "corpus"
    assert plan.longest_path[-1] == "serve"
    assert 0 < plan.longest_hours < plan.hours
    graph = build(load_recipe(RECIPES / "f2llm-v2.yaml"))
    ones = dict.fromkeys(graph.nodes, 1.0)
    path = longest_path(graph, ones)
    assert all(before in graph.nodes[after].inputs.values() for before, after in pairwise(path))


def test_twice_the_devices_halve_the_computing_and_cost_more_exchange() -> None:
    plan = planned("f2llm-v2", load_profile(PROFILES / "f2llm-v2.yaml"))
    work = next(node.work for node in plan.nodes if node.name == "train.4b.stage2")
    placement = load_profile(PROFILES / "f2llm-v2.yaml").train
    half = TrainPlacement.model_validate({**placement.model_dump(), "workers": placement.workers // 2})
    device = DEVICES["H100-80G"]
    many, few = step_of(work, placement, device), step_of(work, half, device)
    assert many.compute == pytest.approx(few.compute / 2)
    assert many.seconds < few.seconds


def test_cost_is_node_hours_times_prices_and_missing_prices_leave_it_open() -> None:
    profile = load_profile(PROFILES / "f2llm-v2.yaml")
    prices = {"cpu": 1.0, "train": 10.0, "embed": 2.0, "serve": 3.0}
    plan = planned("f2llm-v2", profile, prices=prices)
    assert plan.cost == pytest.approx(sum(prices[group] * hours for group, hours in plan.node_hours.items()))
    assert planned("f2llm-v2", profile, prices={"cpu": 1.0}).cost is None


def test_prices_are_given_as_pairs_or_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("{train: 98.3, embed: 0.98}")
    assert read_prices("train=98.3,embed=0.98") == read_prices(str(tmp_path / "prices.yaml"))
    with pytest.raises(RecipeError, match="group=price"):
        read_prices("train=much")


def test_two_profiles_are_compared(tmp_path: Path) -> None:
    done = command(
        "jobs/recipes/quickstart.yaml", "--set", f"storage={tmp_path}", "--compare", "cluster/profiles/one-gpu.yaml"
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert "hours of train" in done.stdout


def test_a_recipe_without_expectations_or_data_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"expect\.stages\.stage1: is missing, and pack\.base\.stage1 is not packed"):
        planned("quickstart", Profile(), "expect=null", f"storage={tmp_path}")


def test_a_profile_with_more_workers_than_its_group_can_hold_is_warned_of() -> None:
    train = TrainPlacement(workers=128, gpus=1.0, zero=3, gradient_checkpointing=True, labels={"group": "train"})
    plan = planned("f2llm-v2", Profile(train=train))
    assert any("128 workers need 16 nodes of 'train', which has at most 8" in warning for warning in plan.warnings)


def test_a_calibration_takes_the_place_of_the_table(tmp_path: Path) -> None:
    device = measured_device("cpu-core", training_rate=1e10, embedding_rate=2e10, token_seconds=1e-5)
    write_calibration(tmp_path / "calibration.json", device, 2.0)
    slow = read_calibration(tmp_path / "calibration.json")
    recipe = load_recipe(RECIPES / "quickstart.yaml", [f"storage={tmp_path}"])
    assert slow.devices["cpu-core"] == device
    assert estimate(recipe, Profile(), slow, {}).hours > estimate(recipe, Profile(), Calibration(DEVICES), {}).hours
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(RecipeError, match="not a calibration"):
        read_calibration(tmp_path / "calibration.json")


AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def test_a_plan_knows_the_processor_it_runs_on_unless_the_profile_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in AVX2.items():
        monkeypatch.setenv(name, value)
    speeds = with_this_processor(Calibration(DEVICES), [Profile()])
    assert speeds.core == FLOAT32_CORE
    named = Profile.model_validate({stage: {"device": NATIVE_CORE} for stage in
                                    ("train", "mine", "distill", "merge", "evaluate", "prune")})  # fmt: skip
    assert with_this_processor(Calibration(DEVICES), [named]).core == NATIVE_CORE
    recipe, groups = load_recipe(RECIPES / "quickstart.yaml"), read_groups(SPEC)
    old, new = estimate(recipe, Profile(), speeds, groups), estimate(recipe, named, speeds, groups)
    assert {node.device for node in old.nodes if node.stage == "train"} == {FLOAT32_CORE}
    assert {node.device for node in new.nodes if node.stage == "train"} == {NATIVE_CORE}
    assert 1.3 < old.hours / new.hours < 2.5


def test_further_candidates_take_memory_and_masked_tokens_beside_others_a_second_forward_pass() -> None:
    def work_of(*objective: str) -> Work:
        recipe = load_recipe(RECIPES / "quickstart.yaml", [f"training.stage2.objective.{one}" for one in objective])
        nodes = build(recipe).nodes
        return work(nodes["train.base.stage2"], Family(recipe, nodes))

    plain = work_of()
    wide = work_of("candidates=[positives, negatives, queries, documents]")
    assert plain.loss_bytes == 0
    assert wide.loss_bytes == 256 * 256 * (3 * (12 + 3) + 2 * (12 + 1))  # three negatives a row, blocks of 256 rows
    assert work_of("masked_tokens={token: _}").flops == 2 * plain.flops
    alone = work_of("hard_weight=0", "in_batch_weight=0", "terms={}", "masked_tokens={token: _}")
    assert alone.flops == plain.flops
