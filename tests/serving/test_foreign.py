"""Members that no stage here made: the endpoint's answers are sentence-transformers' vectors, cut or whole."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sentence_transformers import SentenceTransformer

from model.family_models import CONFIGS, LONGEST, save_sentence_transformer, word_tokenizer
from polyglossa.model.encoder import Encoder
from polyglossa.serving.batching.tokens import Tokens, read_card
from polyglossa.serving.family import Family
from polyglossa.serving.http.api import make_api
from polyglossa.serving.metrics import Metrics
from polyglossa.serving.settings import read_settings
from serving.conftest import LocalMember

TEXTS = ["house tree", "moon", "river cloud stone bird", "", "house " * 60, "川 طائر"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    both = word_tokenizer(before="<s>", behind="</s>")
    shapes = {
        "bert": {"pooling": "mean"},
        "xlm-roberta": {"pooling": "cls"},
        "gemma3-both-ways": {"pooling": "mean", "dense": (48, 24), "prompts": {"query": "house ", "document": "tree "}},
        "mistral": {"pooling": "lasttoken"},
    }
    return {
        name: save_sentence_transformer(tmp_path_factory.mktemp(name), CONFIGS[name](), both, **shape)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def client(folders: dict[str, str]) -> Iterator[TestClient]:
    checked = read_settings({"members": [{"name": name, "path": path} for name, path in folders.items()]})
    metrics = Metrics("foreign")
    family = Family(checked, {name: LocalMember(path).send for name, path in folders.items()}, metrics)
    with TestClient(make_api(family, checked, metrics), raise_server_exceptions=False) as client:
        deadline = time.monotonic() + 20
        while client.get("/ready").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        yield client


def ask(client: TestClient, model: str, texts: list[str], **fields: object) -> np.ndarray:
    body = {"model": model, "input": texts, "encoding_format": "float", **fields}
    answer = client.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    return np.array([item["embedding"] for item in answer.json()["data"]])


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "gemma3-both-ways", "mistral"])
def test_the_endpoint_answers_as_sentence_transformers_does(
    client: TestClient, folders: dict[str, str], name: str
) -> None:
    stock = SentenceTransformer(folders[name], device="cpu")
    np.testing.assert_allclose(ask(client, name, TEXTS), stock.encode(TEXTS), atol=1e-5)
    for kind, encode in (("query", stock.encode_query), ("document", stock.encode_document)):
        np.testing.assert_allclose(ask(client, name, TEXTS, input_type=kind), encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("before", ["<s>", None])
@pytest.mark.parametrize("behind", ["</s>", None])
def test_a_cut_text_keeps_its_special_tokens_at_both_ends(
    before: str | None, behind: str | None, tmp_path: Path
) -> None:
    path = save_sentence_transformer(
        tmp_path, CONFIGS["bert"](), word_tokenizer(before=before, behind=behind), pooling="mean"
    )
    encoder, tokens = Encoder.load(path), Tokens(path, read_card(path, None))
    for text in ("house tree", "moon " * 60, "house"):
        (ids,) = tokens.encode([text])
        assert tokens.fit(ids, "start").tolist() == encoder.tokenize([text])[0]
        bare = ids[len(ids) - len(ids[bool(before) :]) : len(ids) - bool(behind)]
        assert tokens.fit(bare, "start").tolist() == encoder.tokenize([text])[0]
        last = tokens.fit(ids, "end")
        assert len(last) <= LONGEST
        assert (last[0], last[-1]) == (ids[0], ids[-1])
    assert len(tokens.blank) >= 1


def test_texts_of_members_go_out_one_by_one_and_together_alike(client: TestClient) -> None:
    together = ask(client, "bert", TEXTS)
    alone = np.concatenate([ask(client, "bert", [text]) for text in TEXTS])
    np.testing.assert_allclose(alone, together, atol=1e-5)
