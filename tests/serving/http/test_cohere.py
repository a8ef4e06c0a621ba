"""Cohere's embed routes give the encoder's vectors in every type; raw bytes are the same values without JSON."""

import base64

import numpy as np
import pytest

from tests.serving.asking import EMBED, embed, refusal

TEXTS = ["Saksa", "ドイツ"]


def test_cohere_types_are_the_same_vectors(open_api) -> None:
    client = open_api()
    kinds = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    body = {"model": "base", "texts": TEXTS, "input_type": "search_document", "embedding_types": kinds}
    answer = client.post("/v2/embed", json=body).json()
    found = answer["embeddings"]
    expected = embed(client, TEXTS, input_type="document")
    np.testing.assert_allclose(found["float"], expected, atol=1e-6)
    decoded = [np.frombuffer(base64.b64decode(text), "<f4") for text in found["base64"]]
    np.testing.assert_allclose(decoded, expected, atol=1e-6)
    assert (np.array(found["uint8"]) - 128 == np.array(found["int8"])).all()
    assert (np.array(found["binary"]) + 128 == np.array(found["ubinary"])).all()
    assert (np.unpackbits(np.array(found["ubinary"], np.uint8), axis=1) == (expected > 0)).all()
    assert answer["texts"] == TEXTS
    assert answer["meta"]["billed_units"]["input_tokens"] > 0


def test_version_one_answers_numbers_alone_unless_types_are_asked_for(open_api) -> None:
    client = open_api()
    body = {"model": "base", "texts": TEXTS, "input_type": "search_query"}
    plain = client.post("/v1/embed", json=body).json()
    assert plain["response_type"] == "embeddings_floats"
    np.testing.assert_allclose(plain["embeddings"], embed(client, TEXTS, input_type="query"), atol=1e-6)
    typed = client.post("/v1/embed", json=body | {"embedding_types": ["float"]}).json()
    assert typed["embeddings"]["float"] == plain["embeddings"]


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"texts": []}, "invalid_field", "texts"),
        ({"texts": [1]}, "invalid_field", "texts"),
        ({"embedding_types": ["float16"]}, "invalid_field", "embedding_types"),
        ({"output_dimension": 4096}, "invalid_field", "output_dimension"),
        ({"output_dimension": 12, "embedding_types": ["binary"]}, "invalid_field", "output_dimension"),
        ({"images": ["x"]}, "unknown_field", "images"),
        ({"text": ["x"]}, "unknown_field", "text"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(open_api, wrong: dict, code: str, param: str) -> None:
    answer = open_api().post("/v2/embed", json={"model": "base", "texts": TEXTS} | wrong)
    assert refusal(answer) == (422, code, param)


@pytest.mark.parametrize(("dtype", "kind"), [("float32", "<f4"), ("int8", "i1"), ("binary", "u1")])
def test_raw_bytes_are_the_values_of_base64(open_api, dtype: str, kind: str) -> None:
    client = open_api()
    body = {"model": "base", "input": TEXTS, "output_dtype": dtype}
    raw = client.post(EMBED, json=body | {"encoding_format": "bytes"})
    assert raw.headers["content-type"] == "application/octet-stream"
    shape = int(raw.headers["x-embedding-count"]), int(raw.headers["x-embedding-width"])
    rows = np.frombuffer(raw.content, kind).reshape(shape)
    coded = client.post(EMBED, json=body | {"encoding_format": "base64"}).json()["data"]
    assert [row.tobytes() for row in rows] == [base64.b64decode(one["embedding"]) for one in coded]
