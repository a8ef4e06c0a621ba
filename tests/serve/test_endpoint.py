"""Promise 4, over HTTP: the endpoint gives the vectors that every other reader of the model directory gives."""

import numpy as np
import openai
import pytest

from polyglossa.model.encoder import Encoder

TEXTS = ["Germany", "ドイツ", "", "  ", "🙂🙂", "Saksa " * 200, "def walk(path):\n    yield path"]


@pytest.fixture(scope="module")
def client(endpoint: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{endpoint}/v1", api_key="none", max_retries=0)


def vectors(answer: openai.types.CreateEmbeddingResponse) -> np.ndarray:
    return np.array([item.embedding for item in answer.data])


def closest(left_ND: np.ndarray, right_ND: np.ndarray) -> float:
    return float((left_ND * right_ND).sum(axis=1).min())


def test_answer_equals_the_encoder_and_sentence_transformers(client: openai.OpenAI, models: dict[str, str]) -> None:
    from sentence_transformers import SentenceTransformer

    got = vectors(client.embeddings.create(model="base", input=TEXTS))
    assert closest(got, Encoder.load(models["base"]).encode(TEXTS)) > 0.9999
    assert closest(got, SentenceTransformer(models["base"], device="cpu").encode(TEXTS)) > 0.9999


def test_floats_equal_base64_and_single_equals_batch(client: openai.OpenAI) -> None:
    batch = vectors(client.embeddings.create(model="small", input=TEXTS, encoding_format="float"))
    # Without a format the client asks for base64 and decodes it.
    single = [vectors(client.embeddings.create(model="small", input=text))[0] for text in TEXTS]
    np.testing.assert_allclose(batch, np.array(single), atol=1e-6)


@pytest.mark.parametrize("width", [1, 8, 31, 32])
def test_every_width_is_normalised_again(client: openai.OpenAI, models: dict[str, str], width: int) -> None:
    got = vectors(client.embeddings.create(model="polyglossa/best", input=TEXTS, dimensions=width))
    assert got.shape == (len(TEXTS), width)
    assert closest(got, Encoder.load(models["base"]).encode(TEXTS, width=width)) > 0.9999


def test_token_ids_and_the_query_prompt_equal_the_text(client: openai.OpenAI, models: dict[str, str]) -> None:
    encoder = Encoder.load(models["base"])
    ids = encoder.tokenize(["Instruct: Find it.\nQuery: Saksa"])[0]
    by_ids = client.embeddings.create(model="base", input=ids)
    by_prompt = client.embeddings.create(model="base", input="Saksa", extra_body={"input_type": "query"})
    assert by_ids.usage.prompt_tokens == by_prompt.usage.prompt_tokens == len(ids)
    assert closest(vectors(by_ids), vectors(by_prompt)) > 0.9999
    assert closest(vectors(by_ids), encoder.encode(["Saksa"], instruction="Find it.")) > 0.9999


def test_unknown_model_and_too_wide_are_refused_in_openai_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.embeddings.create(model="huge", input="a")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.UnprocessableEntityError, match="dimensions: 33"):
        client.embeddings.create(model="base", input="a", dimensions=33)


def test_models_lists_members_and_aliases(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["base", "small", "polyglossa/best"]
