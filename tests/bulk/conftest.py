"""A small model directory for the tests of this area."""

from pathlib import Path

import pytest

from model.conftest import TEXTS
from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def member(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("bulk") / "member"
    tokenizer = train_tokenizer(TEXTS * 4, vocabulary=400, max_tokens=48)
    backbone = build_model(
        hidden=32, mlp=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocabulary=400, max_tokens=48,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=1,
    )  # fmt: skip
    model = TextModel.of(backbone, prompts={"query": "Find: ", "document": ""})
    save_model_directory(str(path), model, tokenizer, max_tokens=48, matryoshka_widths=[8, 32])
    return str(path)
