"""A small served family: two model directories built from a config, and one running application for all tests."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.tokenizer import train_tokenizer

TEXTS = ["Germany", "Deutschland", "Saksa", "ドイツ", "Германия", "ألمانيا", "जर्मनी", "def walk(path): yield path"]


def make_model(path: Path, *, hidden: int, seed: int) -> str:
    """Write a model directory of two layers."""
    tokenizer = train_tokenizer(TEXTS * 4, vocabulary=400, max_tokens=64)
    backbone = build_model(
        hidden=hidden, mlp=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocabulary=400, max_tokens=64,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=seed,
    )  # fmt: skip
    prompts = {"query": "Instruct: Find it.\nQuery: ", "document": ""}
    widths = [8, 16, hidden]
    save_model_directory(str(path), backbone, tokenizer, max_tokens=64, prompts=prompts, matryoshka_widths=widths)
    return str(path)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("served")
    return {
        "base": make_model(root / "base", hidden=32, seed=1),
        "small": make_model(root / "small", hidden=16, seed=2),
    }


@pytest.fixture(scope="session")
def endpoint(ray_local: None, models: dict[str, str]) -> Iterator[str]:
    """URL of a running application with both members."""
    from serve.running import running

    members = [{"name": name, "path": path, "cpus": 0.5} for name, path in models.items()]
    with running({"members": members, "aliases": {"polyglossa/best": "base"}}, port=free_port()) as url:
        yield url


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
