"""A cross-encoder of the family ranks as sentence-transformers' does; without one the routes say so."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from sentence_transformers import CrossEncoder as Theirs
from transformers import BertConfig, BertForSequenceClassification

from model.family_models import CONFIGS, save_plain, word_tokenizer
from polyglossa.errors import DataError
from polyglossa.serving.family import Family
from polyglossa.serving.http.api import make_api
from polyglossa.serving.metrics import Metrics
from polyglossa.serving.rerank.cross_encoder import CrossEncoder
from polyglossa.serving.settings import read_settings
from tests.serving.asking import refusal

QUERY, TEXTS = "house tree", ["river cloud stone", "house tree", "moon", "bird fish moon house tree " * 20]


def save_reranker(path: Path, labels: int = 1) -> str:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=17, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, num_labels=labels, pad_token_id=0,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4)
    model.save_pretrained(path)
    word_tokenizer(before="<s>", behind="</s>").save_pretrained(path)
    return str(path)


@pytest.fixture
def client(models: dict[str, str], tmp_path: Path):
    path = save_reranker(tmp_path / "ranker")
    ranker = CrossEncoder(path)
    settings = read_settings(
        {
            "members": [{"name": name, "path": where} for name, where in models.items()],
            "rerankers": [{"name": "ranker", "path": path}],
        }
    )

    async def score(query: str, texts: list[str]) -> np.ndarray:
        return ranker.score(query, texts)

    async def nobody(*_: object) -> None:
        raise AssertionError

    metrics = Metrics("r1")
    family = Family(settings, dict.fromkeys(models, nobody), metrics, {"ranker": score})
    return TestClient(make_api(family, settings, metrics), raise_server_exceptions=False)


def test_scores_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    path = save_reranker(tmp_path / "ranker")
    theirs = Theirs(path, device="cpu", max_length=40).predict(
        [(QUERY, text) for text in TEXTS], activation_fn=torch.nn.Identity()
    )
    np.testing.assert_allclose(CrossEncoder(path, max_tokens=40).score(QUERY, TEXTS), theirs, atol=1e-5)


@pytest.mark.parametrize("route", ["/v1/rerank", "/v2/rerank"])
def test_documents_come_back_in_order_as_cohere_has_it(client: TestClient, route: str) -> None:
    documents = [TEXTS[0], {"text": TEXTS[1]}, *TEXTS[2:]]
    answer = client.post(route, json={"query": QUERY, "documents": documents, "model": "ranker"}).json()
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(one["index"] for one in answer["results"]) == [0, 1, 2, 3]
    assert all(0 <= score <= 1 for score in scores)
    few = client.post(route, json={"query": QUERY, "documents": documents, "top_n": 2, "return_documents": True}).json()
    assert [one["index"] for one in few["results"]] == [one["index"] for one in answer["results"]][:2]
    assert few["results"][0]["document"]["text"] == TEXTS[few["results"][0]["index"]]


def test_raw_scores_are_the_models_own_as_tei_has_it(client: TestClient) -> None:
    plain = client.post("/rerank", json={"query": QUERY, "texts": TEXTS}).json()
    raw = client.post("/rerank", json={"query": QUERY, "texts": TEXTS, "raw_scores": True, "return_text": True}).json()
    assert [one["index"] for one in plain] == [one["index"] for one in raw]
    np.testing.assert_allclose(
        [one["score"] for one in plain], [1 / (1 + np.exp(-one["score"])) for one in raw], atol=1e-6
    )
    assert raw[0]["text"] == TEXTS[raw[0]["index"]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"query": QUERY, "documents": []}, 422, "invalid_field"),
        ({"query": QUERY}, 422, "missing_field"),
        ({"query": QUERY, "documents": [1]}, 422, "invalid_field"),
        ({"query": QUERY, "documents": ["a"], "top_n": 0}, 422, "invalid_field"),
        ({"query": QUERY, "documents": ["a"], "model": "base"}, 404, "model_not_found"),
        ({"query": QUERY, "documents": ["a"], "querry": "b"}, 422, "unknown_field"),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_shape(client: TestClient, body: dict, status: int, code: str) -> None:
    found = refusal(client.post("/v1/rerank", json=body))
    assert found[:2] == (status, code)


def test_a_family_without_a_reranker_says_so(open_api) -> None:
    client = open_api()
    for route in ("/v1/rerank", "/v2/rerank", "/rerank"):
        assert refusal(client.post(route, json={})) == (404, "rerank_not_offered", None)


def test_a_model_that_embeds_or_classifies_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gives 3 numbers"):
        CrossEncoder(save_reranker(tmp_path / "three", labels=3))
    config = CONFIGS["bert"]()
    config.num_labels = 1
    with pytest.raises(DataError, match="no head of its own"):
        CrossEncoder(save_plain(tmp_path / "plain", config, word_tokenizer()))
