"""BERT-like encoders lose MLP channels and layers; their width and heads stay, and asking for less is refused."""

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, PreTrainedModel, XLMRobertaConfig, XLMRobertaModel

from polyglossa.errors import UserError
from polyglossa.prune.importance import measure, score
from polyglossa.prune.plan import Sizes, make_plan
from polyglossa.prune.surgery import count_parameters, prune_model, sizes_of
from prune.packing import packed

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 40,
}
PARENT = Sizes(hidden=16, mlp=24, layers=3, kv_heads=2)
TEXTS = [[5, 9, 20, 31], [7, 8], [11, 30, 12, 13, 14, 15]]


@pytest.fixture(params=["bert", "xlm-roberta"])
def parent(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Random weights; the first six MLP channels of every layer are silent."""
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SHAPE)) if request.param == "bert" else XLMRobertaModel(XLMRobertaConfig(**SHAPE))
    with torch.no_grad():
        for layer in model.encoder.layer:
            layer.intermediate.dense.weight.normal_(std=0.3)
            layer.output.dense.weight.normal_(std=0.3)
            layer.output.dense.weight[:, :6] = 0
    return model.eval()


def output(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([TEXTS[0]])).last_hidden_state


def test_silent_mlp_channels_go_and_nothing_changes(parent: PreTrainedModel, tmp_path: object) -> None:
    assert sizes_of(parent.config) == PARENT
    scores = score(parent, measure(packed(parent), TEXTS), "l2")
    plan = make_plan(PARENT, Sizes(16, 18, 3, 2), scores, "first")
    assert plan.kept_mlp == (tuple(range(6, 24)),) * 3
    pruned = prune_model(parent, plan)
    torch.testing.assert_close(output(pruned), output(parent), rtol=0, atol=1e-6)
    pruned.save_pretrained(tmp_path)
    torch.testing.assert_close(output(AutoModel.from_pretrained(tmp_path)), output(parent), rtol=0, atol=1e-6)


def test_depth_is_cut(parent: PreTrainedModel) -> None:
    scores = score(parent, measure(packed(parent), TEXTS), "l2")
    pruned = prune_model(parent, make_plan(PARENT, Sizes(16, 24, 2, 2), scores, "first"))
    assert len(pruned.encoder.layer) == 2
    assert count_parameters(pruned.config) < count_parameters(parent.config)
    with torch.inference_mode():
        hidden_states = parent(input_ids=torch.tensor([TEXTS[0]]), output_hidden_states=True).hidden_states
    torch.testing.assert_close(output(pruned), hidden_states[2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("target", [Sizes(8, 24, 3, 2), Sizes(16, 24, 3, 1)])
def test_width_and_heads_stay(parent: PreTrainedModel, target: Sizes) -> None:
    scores = score(parent, measure(packed(parent), TEXTS), "l2")
    with pytest.raises(UserError, match=r"prune\.(hidden|kv_heads): models of type .* keep all"):
        prune_model(parent, make_plan(PARENT, target, scores, "first"))
