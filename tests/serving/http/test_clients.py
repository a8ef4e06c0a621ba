"""Clients that people have work unchanged: LangChain, LlamaIndex, Haystack, LiteLLM, each where it is installed."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import uvicorn

from polyglossa.model.encoder import Encoder

TEXTS = ["Saksa", "ドイツ"]


@pytest.fixture
def url(open_api, free_port: int) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(open_api().app, port=free_port, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{free_port}/v1"
    server.should_exit = True
    thread.join()


@pytest.fixture
def expected(models: dict[str, str]) -> np.ndarray:
    return Encoder.load(models["base"]).encode(TEXTS)


def needs(module: str):
    return pytest.importorskip(module, reason=f"{module} is not installed (the extra `clients` brings it)")


def test_langchain(url: str, expected: np.ndarray) -> None:
    client = needs("langchain_openai").OpenAIEmbeddings(
        base_url=url, api_key="none", model="base", check_embedding_ctx_length=False
    )
    np.testing.assert_allclose(client.embed_documents(TEXTS), expected, atol=1e-5)


def test_llama_index(url: str, expected: np.ndarray) -> None:
    client = needs("llama_index.embeddings.openai_like").OpenAILikeEmbedding(
        model_name="base", api_base=url, api_key="none"
    )
    np.testing.assert_allclose(client.get_text_embedding_batch(TEXTS), expected, atol=1e-5)


def test_haystack(url: str, expected: np.ndarray) -> None:
    embedders = needs("haystack.components.embedders")
    from haystack.utils import Secret

    client = embedders.OpenAITextEmbedder(api_key=Secret.from_token("none"), model="base", api_base_url=url)
    np.testing.assert_allclose(client.run(text=TEXTS[0])["embedding"], expected[0], atol=1e-5)


def test_litellm(url: str, expected: np.ndarray) -> None:
    answer = needs("litellm").embedding(model="openai/base", input=TEXTS, api_base=url, api_key="none")
    np.testing.assert_allclose([one["embedding"] for one in answer.data], expected, atol=1e-5)


def test_openai_and_raw_bytes(url: str, expected: np.ndarray) -> None:
    import httpx
    import openai

    answer = openai.OpenAI(base_url=url, api_key="none").embeddings.create(model="base", input=TEXTS)
    np.testing.assert_allclose([one.embedding for one in answer.data], expected, atol=1e-5)
    body = {"model": "base", "input": TEXTS, "encoding_format": "bytes"}
    raw = httpx.post(f"{url}/embeddings", json=body, trust_env=False)
    np.testing.assert_allclose(np.frombuffer(raw.content, "<f4").reshape(2, -1), expected, atol=1e-5)
