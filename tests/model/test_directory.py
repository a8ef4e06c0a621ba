"""The model directory: stock config, float32 safetensors, exact parameter counts, seeded weights, refused strangers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2Model

from polyglossa.errors import DataError
from polyglossa.model.directory import build_model, describe_directory, load_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer_folder import load_directory_tokenizer
from polyglossa.recipe.sections.backbone import Shape

SHAPE = {"hidden": 32, "mlp": 64, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8}
IDS = {"vocabulary": 400, "max_tokens": 48, "eos": 1, "padding": 0}


def test_parameter_count_is_the_recipes() -> None:
    backbone = build_model(**SHAPE, **IDS, seed=0)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == Shape(**SHAPE).parameters(400)


def test_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_model(**SHAPE, **IDS, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = build_model(**SHAPE, **IDS, seed=3), build_model(**SHAPE, **IDS, seed=4)
    assert torch.equal(first.embed_tokens.weight, again.embed_tokens.weight)
    assert not torch.equal(first.embed_tokens.weight, other.embed_tokens.weight)


def test_directory_says_what_readers_need(model_path: str) -> None:
    config = json.loads((Path(model_path) / "config.json").read_text())
    assert config["model_type"] == "qwen3"
    assert config["architectures"] == ["Qwen3Model"]
    assert config["is_matryoshka"] is True
    assert config["matryoshka_dimensions"] == [8, 16, 32]
    assert describe_directory(model_path)[0].prompts == {"query": "Instruct: Find it.\nQuery: "}


def test_weights_are_float32_whatever_they_were(model_path: str, tmp_path: Path) -> None:
    backbone = load_model(model_path, "bfloat16").backbone
    tokenizer = load_directory_tokenizer(model_path)
    save_model_directory(str(tmp_path), TextModel.of(backbone), tokenizer, max_tokens=16, matryoshka_widths=[32])
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["dtype"], config["is_matryoshka"]) == ("float32", False)
    assert next(load_model(str(tmp_path)).backbone.parameters()).dtype == torch.float32
    assert load_directory_tokenizer(str(tmp_path)).model_max_length == 16


def test_missing_and_unknown_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be loaded"):
        load_model(str(tmp_path / "nothing"))
    GPT2Model(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="gpt2: not an architecture whose packed forward pass is known; known are"):
        load_model(str(tmp_path))
