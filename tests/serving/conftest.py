"""A small served family: two model directories built from a config, and one running application for all tests."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from polyglossa.model.directory import build_model, save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.runtime import ports
from polyglossa.serving.batching.messages import Reply
from polyglossa.serving.batching.tokens import tokenizer_digest
from polyglossa.serving.family import Family
from polyglossa.serving.http.api import make_api
from polyglossa.serving.lifecycle import running_application
from polyglossa.serving.metrics import Metrics
from polyglossa.serving.rerank.scoring import Score
from polyglossa.serving.settings import read_settings

TEXTS = ["Germany", "Deutschland", "Saksa", "ドイツ", "Германия", "ألمانيا", "जर्मनी", "def walk(path): yield path"]


def make_model(path: Path, *, hidden: int, seed: int) -> str:
    """Write a model directory of two layers."""
    tokenizer = train_tokenizer(TEXTS * 4, vocabulary=400, max_tokens=64)
    backbone = build_model(
        hidden=hidden, mlp=64, layers=2, heads=4, kv_heads=2, head_dim=8, vocabulary=400, max_tokens=64,
        eos=tokenizer.eos_token_id, padding=tokenizer.pad_token_id, seed=seed,
    )  # fmt: skip
    prompts = {"query": "Instruct: Find it.\nQuery: ", "document": ""}
    widths = sorted({8, 16, hidden})
    save_model_directory(
        str(path), TextModel.of(backbone, prompts=prompts), tokenizer, max_tokens=64, matryoshka_widths=widths
    )
    return str(path)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("served")
    return {
        "base": make_model(root / "base", hidden=32, seed=1),
        "small": make_model(root / "small", hidden=16, seed=2),
    }


@pytest.fixture(scope="module")
def endpoint(ray_local: None, models: dict[str, str]) -> Iterator[str]:
    """URL of a running application with both members, the small one in bfloat16."""
    precision = {"base": "float32", "small": "bfloat16"}
    members = [{"name": name, "path": path, "dtype": precision[name], "cpus": 0.5} for name, path in models.items()]
    aliases = {"polyglossa/best": "base"}
    with running_application({"members": members, "aliases": aliases}, port=ports.free_port()) as url:
        yield url


@pytest.fixture
def free_port() -> int:
    return ports.free_port()


class LocalMember:
    """Sends batches to an encoder in this process, as a replica would; can be told to be slow or to fail."""

    def __init__(self, path: str) -> None:
        self.encoder = Encoder.load(path)
        self.batches: list[list[int]] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.failing: Exception | None = None
        self.poison: int | None = None
        self.cancelled = 0
        self.tokenizer = tokenizer_digest(path)

    async def send(self, tokens: np.ndarray, lengths: list[int], task: str | None = None) -> Reply:
        self.batches.append(lengths)
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failing is not None:
            raise self.failing
        texts = [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]
        state_ND = self.encoder.states(texts).numpy().copy()
        if self.poison is not None:
            state_ND[np.array([self.poison in text for text in texts])] = np.nan
        return Reply(state_ND, "local", self.tokenizer, 0.01, int(tokens.size))


@pytest.fixture(scope="module")
def shared_client(models: dict[str, str]) -> Iterator[TestClient]:
    """The HTTP application for tests that ask it very often."""
    checked = read_settings({"members": [{"name": name, "path": path} for name, path in models.items()]})
    checked = checked.model_validate({**checked.model_dump(), "access_log": False})
    sends = {name: LocalMember(path).send for name, path in models.items()}
    metrics = Metrics("r1")
    with TestClient(
        make_api(Family(checked, sends, metrics), checked, metrics), raise_server_exceptions=False
    ) as client:
        yield client


@pytest.fixture
def local(models: dict[str, str]) -> dict[str, LocalMember]:
    return {name: LocalMember(path) for name, path in models.items()}


Open = Callable[..., TestClient]


@pytest.fixture
def open_api(models: dict[str, str], local: dict[str, LocalMember]) -> Iterator[Open]:
    """Opens the HTTP application over local members, without Ray; takes the application's arguments."""
    with contextlib.ExitStack() as stack:

        def opened(scores: Mapping[str, Score] | None = None, **settings: Any) -> TestClient:
            members = [{"name": name, "path": path} for name, path in models.items()]
            checked = read_settings({"members": members} | settings)
            metrics = Metrics("r1")
            family = Family(checked, {name: member.send for name, member in local.items()}, metrics, scores)
            client = stack.enter_context(TestClient(make_api(family, checked, metrics), raise_server_exceptions=False))
            deadline = time.monotonic() + 10
            while client.get("/ready").status_code != 200 and time.monotonic() < deadline:
                time.sleep(0.01)
            return client

        yield opened
