"""Layer exits and low-rank tables: each cut equals the stock model that is cut so."""

from collections import Counter

import pytest
import torch

from polyglossa.model.directory import load_model
from polyglossa.model.variants.exits import exit_layers
from polyglossa.model.variants.low_rank import (
    draw_published_rank,
    draw_rank,
    factorise,
    fold,
    published_ranks,
)
from polyglossa.objectives.exits import mean_over_exits

LENGTHS = [4, 2, 3]
PACK = torch.tensor([5, 6, 7, 1, 8, 1, 9, 10, 1]), LENGTHS


def test_exits_are_the_published_depths_up_to_the_models() -> None:
    assert exit_layers(1) == (1,)
    assert exit_layers(4) == (1, 2, 4)
    assert exit_layers(28) == (1, 2, 4, 8, 16, 24, 28)


def test_each_exit_is_the_state_of_the_model_cut_there(model_path: str) -> None:
    model = load_model(model_path)
    shallow, whole = (
        model.pool(hidden, torch.tensor(LENGTHS)) for hidden in model.every_hidden_state(*PACK, depths=[1])
    )
    torch.testing.assert_close(whole, model(*PACK))
    model.backbone.layers = model.backbone.layers[:1]
    model.backbone.config.num_hidden_layers = 1
    torch.testing.assert_close(shallow, model(*PACK))


def test_loss_over_exits_is_their_mean_and_names_the_deepest() -> None:
    state_XTD = torch.tensor([[[1.0]], [[3.0]], [[8.0]]])
    loss, terms = mean_over_exits(lambda state: (state.sum(), {"hard": state.sum()}), state_XTD)
    assert (loss.item(), terms["hard"].item(), terms["exits"].item()) == (4.0, 8.0, 2.0)


def test_full_rank_changes_nothing_and_folds_back(model_path: str) -> None:
    model = load_model(model_path)
    backbone, before = model.backbone, model(*PACK)
    low_rank = factorise(backbone, 32)
    torch.testing.assert_close(model(*PACK), before, atol=1e-5, rtol=1e-4)
    low_rank.active = 8
    at_eight = model(*PACK)
    fold(backbone, 8)
    torch.testing.assert_close(model(*PACK), at_eight, atol=1e-5, rtol=1e-4)
    assert type(backbone.embed_tokens) is torch.nn.Embedding
    assert (at_eight - before).abs().max() > 1e-3


def test_both_factors_are_trained_up_to_the_active_rank(model_path: str) -> None:
    model = load_model(model_path)
    low_rank = factorise(model.backbone, 16)
    low_rank.active = 4
    model(*PACK).square().sum().backward()
    assert low_rank.left_VR.grad is not None
    assert low_rank.right_RD.grad is not None
    assert low_rank.left_VR.grad[:, :4].any()
    assert low_rank.right_RD.grad[:4].any()
    assert not low_rank.left_VR.grad[:, 4:].any()
    assert not low_rank.right_RD.grad[4:].any()


def test_sub_ranks_are_drawn_in_proportion_to_themselves() -> None:
    drawn = Counter(draw_rank(8, seed, smallest=5) for seed in range(20_000))
    assert set(drawn) == {5, 6, 7, 8}
    for rank, count in drawn.items():
        assert count / 20_000 == pytest.approx(rank / 26, abs=0.01)
    assert draw_rank(16, seed=3) == 16
    assert draw_rank(512, seed=3) == draw_rank(512, seed=3)


def test_the_published_sub_ranks_are_powers_of_two_in_proportion_to_themselves() -> None:
    assert published_ranks(512) == (64, 128, 256, 512)
    assert published_ranks(300) == (64, 128, 256, 300)
    assert published_ranks(32) == (32,)
    drawn = Counter(draw_published_rank(512, seed) for seed in range(20_000))
    assert set(drawn) == {64, 128, 256, 512}
    for rank, count in drawn.items():
        assert count / 20_000 == pytest.approx(rank / 960, abs=0.01)


def test_the_published_factors_begin_with_all_singular_values_on_the_tokens_side(model_path: str) -> None:
    backbone = load_model(model_path).backbone
    table_VD = backbone.get_input_embeddings().weight.detach()
    low_rank = factorise(backbone, 16, even=False)
    right_RD = low_rank.right_RD.detach()
    torch.testing.assert_close(right_RD @ right_RD.T, torch.eye(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(low_rank.left_VR.detach(), table_VD @ right_RD.T, atol=1e-5, rtol=1e-5)


def test_a_rank_beyond_the_table_is_refused(model_path: str) -> None:
    with pytest.raises(ValueError, match="rank: 33 is not within 1 … 32"):
        factorise(load_model(model_path).backbone, 33)
