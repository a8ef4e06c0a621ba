"""A causal model that is made to read both ways is warmed up by filling in masked tokens; others are refused."""

from pathlib import Path

import pytest
import torch

from distill.test_training import trained
from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.errors import DataError
from polyglossa.model.description import set_attention
from polyglossa.model.directory import build_model, load_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.model.variants.masked_tokens import MaskedTokens, check_masked, draw_masked, fill_in
from polyglossa.recipe.sections.train import TrainConfig
from train.toys import VOCABULARY, WORDS, make_pack, stage

ALONE = {"hard_weight": 0.0, "in_batch_weight": 0.0, "masked_tokens": {"token": "a"}}
LENGTHS = [6, 1, 9]


def backbone(attention: str = "bidirectional", *, tied: bool = True) -> TextModel:
    model = build_model(
        hidden=16, mlp=24, layers=2, heads=2, kv_heads=1, head_dim=8, vocabulary=VOCABULARY, max_tokens=32, eos=1,
        padding=0, seed=0,
    )  # fmt: skip
    set_attention(model.config, attention)  # type: ignore[arg-type]
    model.config.tie_word_embeddings = tied
    return TextModel.of(model)


def make_backbone(root: str, attention: str) -> Artifact:
    def make(draft: Draft) -> None:
        tokenizer = train_tokenizer(WORDS, vocabulary=VOCABULARY, max_tokens=32)
        folder = draft.at("model", "config.json").removesuffix("/config.json")
        save_model_directory(folder, backbone(attention), tokenizer, max_tokens=32, matryoshka_widths=(16,))

    return produce(root, ArtifactKey("backbone", "toy", 1, {"attention": attention}), make)


def test_each_masked_token_is_predicted_from_the_state_before_it() -> None:
    model = backbone().double()
    tokens_N = torch.randint(2, VOCABULARY, (sum(LENGTHS),), generator=torch.Generator().manual_seed(0))
    masked = MaskedTokens(token=7, share=0.4, alone=False)
    places = draw_masked(LENGTHS, 0.4, seed=3).tolist()
    found_BF = fill_in(model, tokens_N, LENGTHS, masked, seed=3)
    changed_N = tokens_N.clone()
    changed_N[places] = 7
    hidden_ND = model.hidden_states(changed_N, LENGTHS)
    table_VD = model.backbone.get_input_embeddings().weight
    starts = [0, 6, 7]
    assert not set(places) & set(starts)
    for text, (start, length) in enumerate(zip(starts, LENGTHS, strict=True)):
        own = [place for place in places if start <= place < start + length]
        losses = [-(hidden_ND[at - 1] @ table_VD.T).log_softmax(0)[tokens_N[at]] for at in own]
        assert float(found_BF[text, -2]) == pytest.approx(float(sum(losses)), abs=1e-9)
        assert int(found_BF[text, -1]) == len(own)
    torch.testing.assert_close(found_BF[:, :-2], model(changed_N, LENGTHS))


def test_gradient_of_the_masked_loss() -> None:
    model = backbone().double()
    tokens_N = torch.randint(2, VOCABULARY, (sum(LENGTHS),), generator=torch.Generator().manual_seed(0))
    norm = model.backbone.norm.weight
    total = fill_in(model, tokens_N, LENGTHS, MaskedTokens(7, 0.4, False), seed=3)[:, -2].sum()
    (gradient,) = torch.autograd.grad(total, norm)
    step = 1e-6
    for at in (0, 5):
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                norm[at] += sign * step
            sides.append(float(fill_in(model, tokens_N, LENGTHS, MaskedTokens(7, 0.4, False), seed=3)[:, -2].sum()))
            with torch.no_grad():
                norm[at] -= sign * step
        assert float(gradient[at]) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-4)


def test_a_warm_up_of_its_own_teaches_to_fill_in_and_leaves_a_stock_model(tmp_path: Path) -> None:
    inputs = {"model": make_backbone(str(tmp_path), "bidirectional"), "pack": make_pack(str(tmp_path))}
    config = TrainConfig.of(stage(steps=60, learning_rate=5e-3, objective=ALONE), distil=False)
    model = trained(tmp_path, config, inputs)
    lines = [line for line in Path(model.at("metrics.jsonl")).read_text().splitlines() if '"masked_tokens"' in line]
    losses = [float(line.split('"masked_tokens": ')[1].split("}")[0].split(",")[0]) for line in lines]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.97 * sum(losses[:10])
    kept = load_model(model.at("model"))
    assert not kept.description.causal
    assert set(kept.backbone.state_dict()) == set(load_model(inputs["model"].at("model")).backbone.state_dict())


def test_who_cannot_be_warmed_up_so_is_refused_with_the_reason(tmp_path: Path) -> None:
    inputs = {"model": make_backbone(str(tmp_path), "causal"), "pack": make_pack(str(tmp_path))}
    config = TrainConfig.of(stage(objective=ALONE), distil=False)
    with pytest.raises(DataError, match="attends causally, so nothing behind a masked token is seen"):
        trained(tmp_path, config, inputs)
    with pytest.raises(DataError, match="output layer is not its embedding table"):
        check_masked(backbone(tied=False))
    inputs["model"] = make_backbone(str(tmp_path), "bidirectional")
    for token in (None, "no-such-token"):
        unknown = {**ALONE, "masked_tokens": {"token": token}}
        with pytest.raises(DataError, match=r"is no token of the model; name one of its vocabulary"):
            trained(tmp_path, TrainConfig.of(stage(objective=unknown), distil=False), inputs)
