"""The model directory: stock config, float32 safetensors, exact parameter counts, seeded weights, refused strangers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import DistilBertConfig, DistilBertModel

from polyglossa.errors import DataError
from polyglossa.model.directory import build_model, load_backbone, read_prompts, save_model_directory
from polyglossa.model.tokenizer import load_tokenizer
from polyglossa.recipe.backbone import Shape

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
    assert read_prompts(model_path) == {"query": "Instruct: Find it.\nQuery: "}
    assert read_prompts("Qwen/Qwen3-0.6B") == {}


def test_weights_are_float32_whatever_they_were(model_path: str, tmp_path: Path) -> None:
    backbone = load_backbone(model_path, "bfloat16")
    tokenizer = load_tokenizer(model_path)
    save_model_directory(str(tmp_path), backbone, tokenizer, max_tokens=16, prompts={}, matryoshka_widths=[32])
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float32}
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["dtype"], config["is_matryoshka"]) == ("float32", False)
    assert next(load_backbone(str(tmp_path)).parameters()).dtype == torch.float32
    assert load_tokenizer(str(tmp_path)).model_max_length == 16


def test_missing_and_unknown_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be loaded"):
        load_backbone(str(tmp_path / "nothing"))
    DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, hidden_dim=16, n_layers=1, n_heads=2)).save_pretrained(
        tmp_path
    )
    with pytest.raises(DataError, match="neither causal nor one of bert, roberta, xlm-roberta"):
        load_backbone(str(tmp_path))
