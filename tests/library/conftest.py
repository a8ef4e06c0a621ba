"""A small model directory for the tests of this area."""

import pytest

from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    texts = ["Germany", "Deutschland", "the library", "die Bibliothek"] * 8
    tokenizer = train_tokenizer(texts, vocabulary=300, max_tokens=32)
    backbone = build_model(
        hidden=32, mlp=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocabulary=300, max_tokens=32,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=1,
    )  # fmt: skip
    described = TextModel.of(backbone, prompts={"query": "Instruct: Find it.\nQuery: "})
    save_model_directory(str(path), described, tokenizer, max_tokens=32, matryoshka_widths=[16, 32])
    return str(path)
