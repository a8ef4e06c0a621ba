"""What the forward path does not know is refused before anything is computed, saying what is known."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from model.family_models import CONFIGS, save_plain, save_sentence_transformer, word_tokenizer
from polyglossa.errors import DataError
from polyglossa.model.directory import load_model, save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel


@pytest.fixture
def foreign(tmp_path: Path) -> str:
    return save_sentence_transformer(
        tmp_path, CONFIGS["bert"](), word_tokenizer(before="<s>", behind="</s>"), pooling="mean", dense=(24,)
    )


def edit(path: str, name: str, change: dict[str, Any]) -> None:
    file = Path(path, name)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


def save_config(folder: Path, config: hf.PretrainedConfig) -> str:
    config.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (hf.T5Config(d_model=16, d_ff=16, num_layers=1, num_heads=2), "t5: encoder and decoder in one"),
        (hf.Lfm2Config(hidden_size=16, num_hidden_layers=1), "lfm2: not an architecture .* known are qwen3"),
        (hf.GPT2Config(n_embd=16, n_layer=1, n_head=2), "gpt2: not an architecture"),
        (hf.MPNetConfig(hidden_size=16, num_hidden_layers=1), r"mpnet: not an architecture .*packed: false"),
    ],
    ids=["t5", "lfm2", "gpt2", "mpnet"],
)
def test_architectures_that_are_not_known_are_refused_before_their_weights_are_read(
    config: hf.PretrainedConfig, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        load_model(save_config(tmp_path, config))


@pytest.mark.parametrize("name", ["mpnet", "gpt2", "bert"])
def test_padded_by_choice_any_architecture_gives_its_own_states(name: str, tmp_path: Path) -> None:
    config = {
        "mpnet": hf.MPNetConfig(
            vocab_size=17, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            pad_token_id=0,
        ),
        "gpt2": hf.GPT2Config(vocab_size=17, n_embd=32, n_layer=2, n_head=2, n_positions=64, pad_token_id=0),
        "bert": CONFIGS["bert"](),
    }[name]  # fmt: skip
    path = save_plain(tmp_path / "hub", config, word_tokenizer(before="<s>", behind="</s>"))
    pooling = "mean" if name != "gpt2" else "last"
    model = load_model(path, packed=False, pooling=pooling)
    ids = [[1, 5, 6, 7, 2], [1, 8, 2], [1, 9, 10, 2]]
    with torch.inference_mode():
        found = model(torch.tensor([token for text in ids for token in text]), [len(text) for text in ids])
        stock = hf.AutoModel.from_pretrained(path).eval()
        for text, state in zip(ids, found, strict=True):
            hidden = stock(input_ids=torch.tensor([text])).last_hidden_state[0]
            expected = hidden[-1] if pooling == "last" else hidden.mean(0)
            torch.testing.assert_close(state, expected, rtol=1e-4, atol=1e-5)
    out = str(tmp_path / "out")
    encoder = Encoder.load(path) if name == "bert" else None
    tokenizer = word_tokenizer(before="<s>", behind="</s>")
    save_model_directory(out, model, encoder.tokenizer if encoder else tokenizer, max_tokens=40, matryoshka_widths=[32])
    assert load_model(out).description.packed is False


def test_an_attention_argument_that_is_not_known_is_refused(tmp_path: Path) -> None:
    config = hf.GptOssConfig(
        vocab_size=17, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, num_local_experts=2, pad_token_id=0,
    )  # fmt: skip
    with pytest.raises(DataError, match="gpt_oss"):
        TextModel.of(hf.AutoModel.from_config(config))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "fourier"}, "pooling 'fourier' is not known; known are cls"),
        ("2_Dense/config.json", {"in_features": 31}, "reads states 31 wide, and 32 reach it"),
        ("2_Dense/config.json", {"activation_function": "os.system"}, "activation os.system is not known"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "a dense layer over tokens"),
        ("2_Dense/config.json", {"out_features": 23}, "its weights are .* and its configuration says"),
        ("sentence_bert_config.json", {"query_expansion": {"length": 8}}, "sets query_expansion"),
        ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "transformer_task is text-generation"),
        ("config.json", {"hidden_size": 36}, "its weights are not those of its configuration|cannot be loaded"),
        ("config.json", {"num_hidden_layers": 4}, "its weights are not those of its configuration"),
    ],
)
def test_settings_that_are_not_known_are_one_clear_error(
    foreign: str, file: str, change: dict[str, Any], message: str
) -> None:
    edit(foreign, file, change)
    with pytest.raises(DataError, match=message):
        Encoder.load(foreign)


def test_modules_in_another_order_or_of_another_kind_are_refused(foreign: str) -> None:
    file = Path(foreign, "modules.json")
    modules = json.loads(file.read_text())
    for changed in (modules[:1], modules[::-1], [*modules[:2], {**modules[2], "type": "x.models.LayerNorm"}]):
        file.write_text(json.dumps(changed))
        with pytest.raises(DataError, match="known are Transformer, Pooling, any number of Dense, and Normalize"):
            Encoder.load(foreign)


def test_a_prompt_that_is_left_out_of_a_mean_is_refused(foreign: str) -> None:
    edit(foreign, "1_Pooling/config.json", {"include_prompt": False})
    Encoder.load(foreign)  # no prompt, so nothing is left out
    edit(foreign, "config_sentence_transformers.json", {"prompts": {"query": "house "}})
    with pytest.raises(DataError, match="leaves the prompt out"):
        Encoder.load(foreign)


def test_pickled_weights_are_never_read(foreign: str) -> None:
    dense = Path(foreign, "2_Dense", "model.safetensors")
    dense.rename(dense.with_name("pytorch_model.bin"))
    with pytest.raises(DataError, match="pickled weights are never read"):
        Encoder.load(foreign)
    dense.with_name("pytorch_model.bin").rename(dense)
    weights = Path(foreign, "model.safetensors")
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(DataError, match="safetensors weights"):
        load_model(foreign)


def test_a_model_of_remote_code_alone_is_refused(tmp_path: Path) -> None:
    path = save_config(tmp_path, CONFIGS["bert"]())
    edit(
        path, "config.json", {"model_type": "own", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    )
    with pytest.raises(DataError, match="cannot be loaded as a model"):
        load_model(path)


def test_attention_and_pooling_of_the_recipe_win_and_are_checked(tmp_path: Path) -> None:
    path = save_plain(tmp_path / "qwen", CONFIGS["qwen3"](), word_tokenizer())
    both = load_model(path, attention="bidirectional")
    assert (both.description.causal, both.description.pooling) == (False, ("mean",))
    assert load_model(path, pooling="cls").description.pooling == ("cls",)
    tokens, lengths = torch.tensor([5, 6, 7, 8]), [4]
    with torch.inference_mode():
        first = both.hidden_states(tokens, lengths)[0]
        changed = both.hidden_states(torch.tensor([5, 6, 7, 9]), lengths)[0]
    assert not torch.allclose(first, changed)  # the first token sees the last
    encoder = save_plain(tmp_path / "bert", CONFIGS["bert"](), word_tokenizer(before="<s>", behind="</s>"))
    with pytest.raises(DataError, match="bert: attends both ways whatever its configuration says, not causal"):
        load_model(encoder, attention="causal")


def test_a_recipes_attention_is_written_into_the_directory(tmp_path: Path) -> None:
    path = save_plain(tmp_path / "qwen", CONFIGS["qwen3"](), word_tokenizer())
    model = load_model(path, attention="bidirectional", pooling="mean")
    out = str(tmp_path / "out")
    save_model_directory(out, model, word_tokenizer(), max_tokens=40, matryoshka_widths=[32])
    again = load_model(out)
    assert (again.description.causal, again.description.pooling) == (False, ("mean",))
