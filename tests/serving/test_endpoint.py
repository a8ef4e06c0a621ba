"""Promise 4, over HTTP: the endpoint gives the vectors that every other reader of the model directory gives.

Also what only the running application can show: loopback is loopback, and a client that goes away frees its work.
"""

import json
import re
import socket
import time

import httpx
import huggingface_hub
import numpy as np
import openai
import psutil
import pytest
import torch

from polyglossa.endpoint import EndpointClient
from polyglossa.model.encoder import Encoder

SCRIPTS = [
    "Germany",
    "Германия",
    "Γερμανία",
    "ألمانيا",
    "גרמניה",
    "जर्मनी",
    "জার্মানি",
    "ਜਰਮਨੀ",
    "જર્મની",
    "ଜର୍ମାନୀ",
    "ஜெர்மனி",
    "జర్మనీ",
    "ಜರ್ಮನಿ",
    "ജർമ്മനി",
    "ජර්මනිය",
    "เยอรมนี",
    "ເຢຍລະມັນ",
    "ဂျာမနီ",
    "გერმანია",
    "Գերմանիա",
    "ጀርመን",
    "ಕನ್ನಡ",
    "អាល្លឺម៉ង់",
    "독일",
    "ドイツ",
    "德国",
    "ᏣᎳᎩ",
]
TEXTS = [*SCRIPTS, "", "  ", "\n\t", "🙂🙂👩‍👩‍👧", "Saksa " * 200, "x" * 30_000, "def walk(path):\n    yield path"]


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
    assert closest(got, plain_transformers(models["base"], TEXTS)) > 0.9999


def test_bfloat16_stays_near_float32(client: openai.OpenAI, models: dict[str, str]) -> None:
    got = vectors(client.embeddings.create(model="small", input=TEXTS))
    assert closest(got, Encoder.load(models["small"]).encode(TEXTS)) > 0.999


def test_floats_equal_base64_and_single_equals_batch(client: openai.OpenAI) -> None:
    batch = vectors(client.embeddings.create(model="base", input=TEXTS, encoding_format="float"))
    # Without a format the client asks for base64 and decodes it.
    single = [vectors(client.embeddings.create(model="base", input=text))[0] for text in TEXTS]
    np.testing.assert_allclose(batch, np.array(single), atol=1e-5)


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


def test_client_that_goes_away_frees_its_work(endpoint: str, client: openai.OpenAI) -> None:
    texts = [f"{number} " + "word " * 60 for number in range(2000)]
    body = json.dumps({"model": "base", "input": texts}).encode()
    host, port = endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.1)
    freed = (r'polyglossa_requests_total\{.*status="499"\} 1', r'polyglossa_waiting_texts\{model="base".*\} 0')
    deadline = time.monotonic() + 10
    while not all(re.search(figure, text := figures(endpoint)) for figure in freed):
        assert time.monotonic() < deadline, [line for line in text.splitlines() if "waiting" in line or "499" in line]
        time.sleep(0.05)
    vectors(client.embeddings.create(model="base", input="still here"))


def test_our_own_client_gets_the_encoders_vectors_and_a_lasting_fingerprint(
    endpoint: str, models: dict[str, str]
) -> None:
    ours = EndpointClient(f"{endpoint}/v1/", "base", most_texts=7)
    assert closest(ours.embed(TEXTS), Encoder.load(models["base"]).encode(TEXTS)) > 0.9999
    assert ours.fingerprint == EndpointClient(f"{endpoint}/v1", "base").fingerprint
    assert ours.fingerprint != EndpointClient(f"{endpoint}/v1", "small").fingerprint


def test_hugging_faces_client_gets_the_encoders_vectors(
    endpoint: str, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # it takes the loopback for the hub
    encoder, texts = Encoder.load(models["base"]), ["Saksa", "Germany " * 100]
    got = huggingface_hub.InferenceClient(model=f"{endpoint}/embed").feature_extraction(
        texts, normalize=True, truncate=True, truncation_direction="right"
    )
    assert closest(got, encoder.encode(texts)) > 0.9999
    similarity = huggingface_hub.InferenceClient(model=f"{endpoint}/similarity").sentence_similarity(
        "Saksa", other_sentences=["Germany", "ドイツ"]
    )
    first_D, *others = encoder.encode(["Saksa", "Germany", "ドイツ"])
    np.testing.assert_allclose(similarity, np.array(others) @ first_D, atol=1e-4)


def test_head_and_slashes_pass_the_proxy(endpoint: str) -> None:
    for path in ("/health", "/ready", "/v1/models", "/v1/models/", "/metrics"):
        answer = httpx.head(f"{endpoint}{path}")
        assert (answer.status_code, answer.content) == (200, b"")
    slashed = openai.OpenAI(base_url=f"{endpoint}//v1/", api_key="none", max_retries=0)
    assert len(slashed.embeddings.create(model="base", input=["a"], user="me").data) == 1


def figures(endpoint: str) -> str:
    return httpx.get(f"{endpoint}/metrics").text


def plain_transformers(path: str, texts: list[str]) -> np.ndarray:
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path)
    with torch.no_grad():
        encoded = [tokenizer(text, truncation=True, return_tensors="pt") for text in texts]
        state_ND = torch.stack([model(**one).last_hidden_state[0, -1] for one in encoded])
    return torch.nn.functional.normalize(state_ND).numpy()


def test_nothing_of_the_endpoint_or_its_proxy_answers_on_another_interface(endpoint: str) -> None:
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [
        (process.name(), connection.laddr)
        for process in family
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert int(endpoint.rsplit(":", 1)[1]) in {address.port for _, address in listening}
    assert [address.ip for name, address in listening if name == "haproxy" and address.ip != "127.0.0.1"] == []
    addresses = [one.address for ones in psutil.net_if_addrs().values() for one in ones if one.family == socket.AF_INET]
    for address in set(addresses) - {"127.0.0.1"}:
        for port in {address.port for _, address in listening}:
            for path in ("/metrics", "/v1/models"):
                assert not is_ours(f"http://{address}:{port}{path}")


def is_ours(url: str) -> bool:
    """Tell whether the endpoint or its proxy's pages answer; Ray's own agent has `/health` and `ray_…haproxy_…` too."""
    try:
        text = httpx.get(url, timeout=1.0).text
    except httpx.HTTPError:
        return False
    return re.search(r'^(polyglossa_requests|haproxy_)|"object"', text, re.MULTILINE) is not None
