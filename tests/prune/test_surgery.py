"""Promise 5, sizes are exact: pruning cuts what the plan says and nothing else, and stock code loads the result."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModel, Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from polyglossa.errors import UserError
from polyglossa.prune.plan import PrunePlan, Sizes
from polyglossa.prune.surgery import count_parameters, prune_config, prune_model, sizes_of

PARENT = Sizes(hidden=32, mlp=48, layers=4, kv_heads=2)
INPUT = torch.arange(24).reshape(2, 12)


def some_plan() -> PrunePlan:
    hidden = tuple(range(1, 32, 2))
    mlp = tuple(tuple((layer + 5 * i) % 48 for i in range(9)) for layer in (0, 2, 3))
    return PrunePlan(kept_layers=(0, 2, 3), kept_hidden=hidden, kept_mlp=mlp, kept_kv_heads=((1,), (0,), (1,)))


def silence_what_goes(model: Qwen3Model, plan: PrunePlan) -> Qwen3Model:
    """Return a copy in which everything that the plan removes is zero, removed layers included."""
    model = copy.deepcopy(model)
    gone = [channel for channel in range(32) if channel not in plan.kept_hidden]
    with torch.no_grad():
        model.embed_tokens.weight[:, gone] = 0
        for index, layer in enumerate(model.layers):
            attention, mlp = layer.self_attn, layer.mlp
            for writer in (attention.o_proj, mlp.down_proj):
                writer.weight[gone] = 0
            if index not in plan.kept_layers:
                attention.o_proj.weight.zero_()
                mlp.down_proj.weight.zero_()
                continue
            place = plan.kept_layers.index(index)
            mlp.down_proj.weight[:, [m for m in range(48) if m not in plan.kept_mlp[place]]] = 0
            (other,) = {0, 1} - set(plan.kept_kv_heads[place])
            attention.o_proj.weight[:, other * 16 : other * 16 + 16] = 0
    return model


def output(model: Qwen3Model) -> torch.Tensor:
    with torch.inference_mode():
        return model(INPUT).last_hidden_state


def with_exact_norms(model: Qwen3Model) -> Qwen3Model:
    """Return a float64 copy at eps 0; the stock norm computes in float32 whatever the model's dtype is."""
    exact = copy.deepcopy(model).double()
    for name, module in list(exact.named_modules()):
        if isinstance(module, Qwen3RMSNorm):
            norm = nn.RMSNorm(module.weight.shape, eps=0.0, dtype=torch.float64)
            norm.weight = module.weight
            exact.set_submodule(name, norm)
    return exact


def test_removing_what_is_zero_changes_nothing_at_the_stock_eps(parent: Qwen3Model) -> None:
    plan = some_plan()
    silenced = silence_what_goes(parent, plan)
    expected = output(silenced)[..., list(plan.kept_hidden)]
    assert expected.abs().mean() > 0.1
    torch.testing.assert_close(output(prune_model(silenced, plan)), expected, rtol=0, atol=1e-3)


def test_removing_what_is_zero_changes_nothing_in_exact_arithmetic(parent: Qwen3Model) -> None:
    plan = some_plan()
    silenced = silence_what_goes(parent, plan).double()
    expected = output(with_exact_norms(silenced))[..., list(plan.kept_hidden)]
    torch.testing.assert_close(output(with_exact_norms(prune_model(silenced, plan))), expected, rtol=0, atol=1e-9)


def test_without_rescaled_gains_the_output_would_differ(parent: Qwen3Model) -> None:
    plan = some_plan()
    silenced = silence_what_goes(parent, plan)
    pruned = prune_model(silenced, plan)
    with torch.no_grad():
        pruned.norm.weight *= 0.5**0.5
    assert (output(pruned) - output(silenced)[..., list(plan.kept_hidden)]).abs().max() > 0.1


def test_keeping_everything_is_the_identity(parent: Qwen3Model) -> None:
    pruned = prune_model(parent, PrunePlan.everything(PARENT))
    assert pruned.config.to_dict() == parent.config.to_dict()
    for name, tensor in parent.state_dict().items():
        assert torch.equal(pruned.state_dict()[name], tensor), name
    assert torch.equal(output(pruned), output(parent))


def test_the_parent_is_left_as_it_was(parent: Qwen3Model) -> None:
    before = copy.deepcopy(parent.state_dict())
    pruned = prune_model(parent, some_plan())
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter += 1
    assert all(torch.equal(parent.state_dict()[name], tensor) for name, tensor in before.items())
    assert parent.config.hidden_size == 32


def test_stock_code_loads_the_pruned_model(parent: Qwen3Model, tmp_path: object) -> None:
    pruned = prune_model(parent, some_plan())
    pruned.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is Qwen3Model
    assert sizes_of(loaded.config) == Sizes(hidden=16, mlp=9, layers=3, kv_heads=1)
    assert loaded.config.num_attention_heads == 2
    assert len(loaded.config.layer_types) == 3
    torch.testing.assert_close(output(loaded), output(pruned), rtol=0, atol=0)


def test_a_pruned_model_trains(parent: Qwen3Model) -> None:
    pruned = prune_model(parent, some_plan()).train()
    pruned(INPUT).last_hidden_state.square().sum().backward()
    assert all(parameter.grad is not None for parameter in pruned.parameters())


@pytest.mark.parametrize(
    ("hidden", "mlp", "layers", "parameters"),
    [(896, 2560, 16, 334_349_184), (640, 1536, 9, 159_185_024), (320, 2048, 8, 80_084_288)],
)
def test_published_sizes_come_out_of_the_published_parent_to_the_digit(
    hidden: int, mlp: int, layers: int, parameters: int
) -> None:
    config = Qwen3Config(
        vocab_size=151_936,
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    assert count_parameters(config) == 596_049_920
    with torch.device("meta"):
        parent = Qwen3Model(config)
    keep = PrunePlan.everything(Sizes(hidden, mlp, layers, 8))
    student = prune_model(parent, keep)
    assert sum(parameter.numel() for parameter in student.parameters()) == parameters
    assert count_parameters(prune_config(config, keep)) == parameters


def test_a_plan_for_a_larger_parent_is_refused(parent: Qwen3Model) -> None:
    with pytest.raises(UserError, match="keeps hidden 39, but the parent has only 32"):
        prune_model(parent, PrunePlan.everything(Sizes(40, 48, 4, 2)))


def test_an_unknown_kind_of_model_is_refused_by_name(parent: Qwen3Model) -> None:
    other = copy.deepcopy(parent)
    other.config.model_type = "mamba"
    with pytest.raises(UserError, match="'mamba' cannot be pruned"):
        prune_model(other, some_plan())
