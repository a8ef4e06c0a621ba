"""One member, several tasks: a request names the task, and gets the vectors of its adapter."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from polyglossa.engines.choose import open_engine
from polyglossa.engines.spec import EngineSpec
from polyglossa.model.adapter_files import adapter_folder
from polyglossa.model.encoder import Encoder
from polyglossa.model.variants.adaptation import Lora
from polyglossa.model.variants.lora import attach, save_adapter
from polyglossa.serving.batching.messages import Reply
from polyglossa.serving.batching.tokens import tokenizer_digest
from polyglossa.serving.family import Family
from polyglossa.serving.http.api import make_api
from polyglossa.serving.metrics import Metrics
from polyglossa.serving.settings import read_settings

SETTINGS = Lora(rank=4, alpha=8.0, dropout=0.0, modules=("q_proj", "v_proj"))


@pytest.fixture(scope="module")
def path(models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model directory with two adapters."""
    folder = tmp_path_factory.mktemp("tasks") / "model"
    shutil.copytree(models["base"], folder)
    for seed, task in enumerate(("retrieval", "sts")):
        backbone = attach(Encoder.load(models["base"]).backbone, SETTINGS, seed=seed)
        for name, parameter in backbone.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
        save_adapter(backbone, SETTINGS, adapter_folder(str(folder), task))
    return str(folder)


class Member:
    """Sends batches to an engine in this process, as a replica would, and notes for which task."""

    def __init__(self, path: str) -> None:
        self._engine, self._tokenizer = open_engine(path, EngineSpec()), tokenizer_digest(path)
        self.tasks: list[str | None] = []

    async def send(self, tokens: np.ndarray, lengths: list[int], task: str | None = None) -> Reply:
        self.tasks.append(task)
        texts = [part.tolist() for part in np.split(tokens, np.cumsum(lengths)[:-1])]
        return Reply(self._engine.states(texts, task), "local", self._tokenizer, 0.01, int(tokens.size))


@pytest.fixture
def served(models: dict[str, str], path: str) -> Iterator[tuple[TestClient, Member]]:
    """The HTTP application over that model, and over one without adapters."""
    paths = {"tasks": path, "base": models["base"]}
    settings = read_settings({"members": [{"name": name, "path": one} for name, one in paths.items()]})
    members, metrics = {name: Member(one) for name, one in paths.items()}, Metrics("r1")
    family = Family(settings, {name: member.send for name, member in members.items()}, metrics)
    with TestClient(make_api(family, settings, metrics), raise_server_exceptions=False) as client:
        yield client, members["tasks"]


def ask(client: TestClient, **body: object) -> np.ndarray:
    answer = client.post("/v1/embeddings", json={"model": "tasks", "input": ["Saksa", "Germany"], **body})
    assert answer.status_code == 200, answer.text
    return np.array([one["embedding"] for one in answer.json()["data"]], np.float32)


def test_a_task_is_answered_with_its_adapters_vectors(served: tuple[TestClient, Member], path: str) -> None:
    client, member = served
    encoder = Encoder.load(path)
    plain = ask(client)
    np.testing.assert_allclose(plain, encoder.encode(["Saksa", "Germany"]), atol=1e-6)
    for task in ("retrieval", "sts"):
        found = ask(client, task=task)
        expected = encoder.with_adapter(adapter_folder(path, task)).encode(["Saksa", "Germany"])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.abs(found - plain).max() > 0.01
    np.testing.assert_array_equal(ask(client), plain)
    assert {"retrieval", "sts", None} == set(member.tasks)


def test_a_task_may_name_the_prompt_as_jinas_clients_do(served: tuple[TestClient, Member]) -> None:
    client, _ = served
    asked = ask(client, task="retrieval.query")
    np.testing.assert_array_equal(asked, ask(client, task="retrieval", input_type="query"))
    assert np.abs(asked - ask(client, task="retrieval.passage")).max() > 0.01


def test_token_ids_may_have_a_task_too(served: tuple[TestClient, Member], path: str) -> None:
    client, _ = served
    ids = Encoder.load(path).tokenize(["Saksa", "Germany"])
    np.testing.assert_array_equal(ask(client, input=ids, task="sts"), ask(client, task="sts"))


def test_tasks_are_told_and_others_refused(served: tuple[TestClient, Member]) -> None:
    client, _ = served
    assert client.get("/v1/models/tasks").json()["tasks"] == ["retrieval", "sts"]
    assert client.get("/v1/models/base").json()["tasks"] == []
    for model, task, hint in (
        ("tasks", "clustering", "tasks has retrieval, sts"),
        ("tasks", "sts.answer", "tasks has retrieval, sts"),
        ("base", "retrieval.query", "base has no task adapters; set input_type or instruction"),
    ):
        answer = client.post("/v1/embeddings", json={"model": model, "input": "a", "task": task})
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == "task"
        assert hint in answer.json()["error"]["message"]
