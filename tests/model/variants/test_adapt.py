"""What a stage adds to a backbone for training is taken back at export, and layer exits are the shallower models."""

import torch

from engine.worlds import WIDTH, make_batch, make_model
from polyglossa.engine.embedder import Embedder
from polyglossa.engine.objective import build_objective
from polyglossa.engine.stage_spec import ObjectiveSpec
from polyglossa.model.forward import TextModel
from polyglossa.model.variants.adapt import adapt, choose_table_rank, restore
from polyglossa.model.variants.adaptation import Adaptation
from polyglossa.recipe.sections.train import ObjectiveConfig


def test_a_low_rank_table_is_folded_into_a_plain_one_with_the_same_embeddings() -> None:
    model, settings, ids = make_model(), Adaptation(embedding_rank=WIDTH - 3), torch.arange(9)[None]
    names = set(model.state_dict())
    adapt(model, settings)
    ranks = set()
    for step in range(20):
        choose_table_rank(model, settings, step)
        ranks.add(model.get_input_embeddings().active)
    assert max(ranks) <= WIDTH - 3
    choose_table_rank(model, settings, None)
    expected = model(input_ids=ids, use_cache=False).last_hidden_state
    restore(model, settings)
    assert set(model.state_dict()) == names
    torch.testing.assert_close(model(input_ids=ids, use_cache=False).last_hidden_state, expected, rtol=1e-4, atol=1e-5)


def test_the_state_of_an_exit_is_that_of_the_model_cut_there() -> None:
    lengths, tokens = [5, 3], torch.arange(8)
    states = Embedder(TextModel.of(make_model()), dtype="float64", exits=(1,))(tokens, lengths, 0)
    shallow = make_model().double()
    shallow.layers = shallow.layers[:1]
    shallow.config.num_hidden_layers, shallow.config.layer_types = 1, shallow.config.layer_types[:1]
    cut = Embedder(TextModel.of(shallow), dtype="float64")(tokens, lengths, 0)
    whole = Embedder(TextModel.of(make_model()), dtype="float64")(tokens, lengths, 0)
    torch.testing.assert_close(states, torch.cat([cut, whole], dim=1))


def test_the_loss_over_exits_is_the_mean_of_their_losses() -> None:
    batch = make_batch(0, 0, 1)
    one, many = (
        build_objective(ObjectiveSpec.of(ObjectiveConfig(layer_exits=exits)), width=WIDTH) for exits in (False, True)
    )
    first, last = torch.randn(2, batch.texts, WIDTH, dtype=torch.float64)
    loss, terms = many(torch.cat([first, last], dim=1), batch)
    torch.testing.assert_close(loss, (one(first, batch)[0] + one(last, batch)[0]) / 2)
    torch.testing.assert_close(terms["exits"], one(first, batch)[0])
