"""Importance finds what carries nothing, does not depend on how the pass is split, and ignores padding."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3Model

from polyglossa.prune.importance import ActivationSums, measure, score
from polyglossa.prune.plan import Sizes, make_plan
from polyglossa.prune.stored_sums import measure_once
from polyglossa.prune.surgery import prune_model
from prune.packing import packed

PARENT = Sizes(hidden=32, mlp=48, layers=4, kv_heads=2)


@pytest.fixture(scope="module")
def sums(parent: Qwen3Model, texts: list[list[int]]) -> ActivationSums:
    return measure(packed(parent), texts)


@pytest.mark.parametrize("criterion", ["l2", "mean_abs", "variance"])
def test_channels_that_carry_nothing_go_first(parent: Qwen3Model, texts: list[list[int]], criterion: str) -> None:
    silenced = copy.deepcopy(parent)
    gone, mlp_gone = [0, 7, 8, 30], [1, 2, 40]
    with torch.no_grad():
        silenced.embed_tokens.weight[:, gone] = 0
        for layer in silenced.layers:
            layer.self_attn.o_proj.weight[gone] = 0
            layer.self_attn.v_proj.weight[:8] = 0  # key/value head 0 has nothing to say
            layer.mlp.down_proj.weight[gone] = 0
            layer.mlp.up_proj.weight[mlp_gone] = 0
    scores = score(silenced, measure(packed(silenced), texts), criterion)
    plan = make_plan(PARENT, Sizes(28, 45, 4, 1), scores, "first")
    assert not set(plan.kept_hidden) & set(gone)
    assert all(not set(kept) & set(mlp_gone) for kept in plan.kept_mlp)
    assert plan.kept_kv_heads == ((1,),) * 4
    ids = torch.tensor([texts[0]])
    with torch.inference_mode():
        expected = silenced(ids).last_hidden_state[..., list(plan.kept_hidden)]
        torch.testing.assert_close(prune_model(silenced, plan)(ids).last_hidden_state, expected, rtol=0, atol=1e-3)


def test_a_split_pass_adds_up_to_the_whole(parent: Qwen3Model, texts: list[list[int]], sums: ActivationSums) -> None:
    split = measure(packed(parent), texts[:13]) + measure(packed(parent), texts[13:], chunk_tokens=37)
    assert split.tokens == sums.tokens == sum(map(len, texts))
    for site, moments_3C in sums.moments.items():
        np.testing.assert_allclose(split.moments[site], moments_3C, rtol=1e-4, atol=1e-3)
    for layer, turned in sums.turning.items():
        assert split.turning[layer] == pytest.approx(turned, rel=1e-4)


def test_texts_of_one_pass_count_as_they_do_alone(parent: Qwen3Model) -> None:
    short, long = [5, 6], list(range(20))
    together = measure(packed(parent), [short, long])
    apart = measure(packed(parent), [short]) + measure(packed(parent), [long])
    for site, moments_3C in apart.moments.items():
        np.testing.assert_allclose(together.moments[site], moments_3C, rtol=1e-4, atol=1e-4)


def test_moments_are_those_of_the_activations(parent: Qwen3Model) -> None:
    ids = list(range(9))
    with torch.inference_mode():
        hidden_LD = parent(torch.tensor([ids])).last_hidden_state[0].double()
    moments_3C = measure(packed(parent), [ids]).moments["norm"]
    expected = torch.stack([hidden_LD.sum(0), hidden_LD.abs().sum(0), hidden_LD.square().sum(0)])
    np.testing.assert_allclose(moments_3C, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("criterion", ["l2", "mean_abs", "variance"])
def test_moving_a_scale_between_two_maps_changes_no_rank(
    parent: Qwen3Model, texts: list[list[int]], sums: ActivationSums, criterion: str
) -> None:
    moved = copy.deepcopy(parent)
    with torch.no_grad():
        moved.layers[1].mlp.up_proj.weight[3] *= 100
        moved.layers[1].mlp.down_proj.weight[:, 3] /= 100
    before = score(parent, sums, criterion)
    after = score(moved, measure(packed(moved), texts), criterion)
    np.testing.assert_allclose(after.mlp_LM, before.mlp_LM, rtol=1e-3)


def test_prefix_keeps_the_first_residual_channels(parent: Qwen3Model, sums: ActivationSums) -> None:
    plan = make_plan(PARENT, Sizes(12, 16, 2, 2), score(parent, sums, "prefix"), "first")
    assert plan.kept_hidden == tuple(range(12))
    by_size = make_plan(PARENT, Sizes(12, 16, 2, 2), score(parent, sums, "l2"), "first")
    assert plan.kept_mlp == by_size.kept_mlp


def test_states_come_out_at_the_parents_size(parent: Qwen3Model, texts: list[list[int]], sums: ActivationSums) -> None:
    plan = make_plan(PARENT, Sizes(12, 48, 4, 2), score(parent, sums, "prefix"), "first")
    assert 0.1 < plan.output_energy < 0.9
    pruned = prune_model(parent, plan)
    with torch.inference_mode():
        before = torch.cat([parent(torch.tensor([ids])).last_hidden_state[0, :, :12] for ids in texts])
        after = torch.cat([pruned(torch.tensor([ids])).last_hidden_state[0] for ids in texts])
    assert after.norm() / before.norm() == pytest.approx(1, rel=0.15)


def test_random_importance_is_a_function_of_its_seed(parent: Qwen3Model, sums: ActivationSums) -> None:
    first, again, other = (score(parent, sums, "random", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.hidden_SD, again.hidden_SD)
    assert (first.mlp_LM != other.mlp_LM).any()


def test_a_layer_that_does_nothing_has_no_influence(parent: Qwen3Model, texts: list[list[int]]) -> None:
    idle = copy.deepcopy(parent)
    with torch.no_grad():
        idle.layers[2].self_attn.o_proj.weight.zero_()
        idle.layers[2].mlp.down_proj.weight.zero_()
    influence_L = score(idle, measure(packed(idle), texts), "l2").layers_L
    assert influence_L[2] == pytest.approx(0, abs=1e-6)
    assert influence_L[[0, 1, 3]].min() > 1e-3


def test_measuring_leaves_no_hook_behind(parent: Qwen3Model, sums: ActivationSums) -> None:
    assert sums.tokens
    assert not any(module._forward_hooks for module in parent.modules())


def test_one_pass_serves_every_student(tmp_path: Path, sums: ActivationSums) -> None:
    passes = []

    def listen() -> ActivationSums:
        passes.append(1)
        return sums

    uri = str(tmp_path / "importance" / "key.safetensors")
    first, second = (measure_once(uri, listen) for _ in range(2))
    assert len(passes) == 1
    assert second.tokens == first.tokens == sums.tokens
    assert second.turning == first.turning
    for site, moments in first.moments.items():
        np.testing.assert_array_equal(second.moments[site], moments)
