"""A small model directory, made once for the tests of this area."""

from pathlib import Path

import pytest

from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer

TEXTS = [
    "Germany", "Deutschland", "Allemagne", "Saksa", "ドイツ", "Германия", "Γερμανία", "ألمانيا", "जर्मनी", "",
    "Return the absolute value of a number, which may be an integer or a float.",
    "def walk(path):\n    for name in sorted(path.iterdir()):\n        yield name\n" * 3,
]  # fmt: skip


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(TEXTS * 4, vocabulary=400, max_tokens=48)
    backbone = build_model(
        hidden=32, mlp=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocabulary=400, max_tokens=48,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=1,
    )  # fmt: skip
    prompts = {"query": "Instruct: Find it.\nQuery: "}
    save_model_directory(
        str(path), TextModel.of(backbone, prompts=prompts), tokenizer, max_tokens=48, matryoshka_widths=[8, 16, 32]
    )
    return str(path)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS
