"""Low-rank training: only the added parts learn, and the exported model is a plain one with the same embeddings."""

import torch

from engine.worlds import make_model
from polyglossa.costing.flops import low_rank_parameters
from polyglossa.model.variants.adaptation import Lora
from polyglossa.model.variants.lora import attach, merge
from polyglossa.recipe.sections.backbone import Shape
from polyglossa.recipe.sections.train import LoraConfig

SETTINGS = Lora(rank=4, alpha=8.0, dropout=0.0, modules=("q_proj", "up_proj"))


def test_only_the_added_parts_are_trained_and_they_change_nothing_at_first() -> None:
    model, ids = make_model(), torch.arange(5)[None]
    before = model(input_ids=ids, use_cache=False).last_hidden_state
    attach(model, SETTINGS, seed=1)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 2 * 2
    assert all("lora_" in name for name in trained)
    torch.testing.assert_close(model(input_ids=ids, use_cache=False).last_hidden_state, before)


def test_the_plan_counts_the_parameters_that_are_trained() -> None:
    for modules in (SETTINGS.modules, LoraConfig().modules):
        model = make_model()
        sizes = model.config
        shape = Shape(
            hidden=sizes.hidden_size,
            mlp=sizes.intermediate_size,
            layers=sizes.num_hidden_layers,
            heads=sizes.num_attention_heads,
            kv_heads=sizes.num_key_value_heads,
            head_dim=sizes.head_dim,
        )
        attach(model, Lora(rank=4, alpha=8.0, dropout=0.0, modules=modules), seed=1)
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        assert low_rank_parameters(shape, 4, modules) == trained


def test_parts_start_the_same_on_every_rank() -> None:
    one, two = attach(make_model(), SETTINGS, seed=1), attach(make_model(), SETTINGS, seed=1)
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


def test_merged_model_is_plain_and_embeds_the_same() -> None:
    model, ids = make_model(), torch.arange(5)[None]
    names = set(model.state_dict())
    attach(model, SETTINGS, seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    expected = model(input_ids=ids, use_cache=False).last_hidden_state
    merge(model)
    assert set(model.state_dict()) == names
    torch.testing.assert_close(model(input_ids=ids, use_cache=False).last_hidden_state, expected, rtol=1e-4, atol=1e-5)
