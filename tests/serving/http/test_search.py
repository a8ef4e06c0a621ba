"""Protects `/v1/search`: the endpoint's own documents by the member's vectors, at every width; refusals are typed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from polyglossa.model.encoder import Encoder
from polyglossa.serving.documents import Documents, write_documents
from tests.serving.asking import refusal
from tests.serving.conftest import TEXTS

QUESTION = "Instruct: Find it.\nQuery: Germany"


@pytest.fixture
def documents(models: dict[str, str], tmp_path: Path) -> str:
    vectors = {name: Encoder.load(path).encode(TEXTS) for name, path in models.items()}
    write_documents(str(tmp_path), pa.table({"source": ["a"] * len(TEXTS), "text": TEXTS}), vectors)
    return str(tmp_path)


@pytest.mark.parametrize("width", [None, 8])
def test_the_nearest_documents_come_first_at_every_width(open_api, models, documents: str, width: int | None) -> None:
    client = open_api(documents=documents, aliases={"best": "small"})
    body = {"query": "Germany", "model": "best", "limit": 3, "dimensions": width}
    answer = client.post("/v1/search", json=body).json()
    encoder = Encoder.load(models["small"])
    cosine_N = encoder.encode(TEXTS, width=width) @ encoder.encode([QUESTION], width=width)[0]
    order = np.argsort(-cosine_N, kind="stable")[:3]
    assert [one["index"] for one in answer["data"]] == order.tolist()
    assert [one["score"] for one in answer["data"]] == pytest.approx(cosine_N[order].tolist(), abs=1e-5)
    assert [one["text"] for one in answer["data"]] == [TEXTS[index] for index in order]
    assert (answer["model"], answer["documents"]) == ("small", len(TEXTS))
    assert {one["id"]: one["documents"] for one in client.get("/v1/models").json()["data"]} == dict.fromkeys(
        ("base", "small", "best"), len(TEXTS)
    )


def test_blocks_of_documents_rank_as_one(monkeypatch: pytest.MonkeyPatch, documents: str) -> None:
    query_D = np.eye(32, dtype=np.float32)[0]
    whole = Documents(documents).search("base", query_D, 8)
    monkeypatch.setattr("polyglossa.serving.documents._BLOCK", 3)
    assert [one.index for one in Documents(documents).search("base", query_D, 8)] == [one.index for one in whole]


def test_what_is_not_there_is_refused_by_name(open_api, documents: str, tmp_path: Path) -> None:
    client = open_api()
    assert refusal(client.post("/v1/search", json={"query": "a"}))[:2] == (404, "search_not_offered")
    assert client.get("/v1/models").json()["data"][0]["documents"] == 0
    client = open_api(documents=documents)
    for body, code in [
        ({"limit": 1}, "missing_field"),
        ({"query": "a", "limit": 0}, "invalid_field"),
        ({"query": "a", "dimensions": 999}, "invalid_field"),
        ({"query": "a", "top_k": 3}, "unknown_field"),
    ]:
        assert refusal(client.post("/v1/search", json=body))[:2] == (422, code), body
    (tmp_path / "small.npy").unlink()
    client = open_api(documents=documents)
    assert client.post("/v1/search", json={"query": "a", "model": "small"}).status_code == 404
