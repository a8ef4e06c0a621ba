"""Output formats: every name that a request may give has its function, and each writes what it says."""

import asyncio
import base64
from typing import get_args, get_type_hints

import numpy as np
import orjson
import pytest

from polyglossa.serving.http.formats import ENCODINGS, embedding_list
from polyglossa.serving.http.schema import EmbeddingRequest
from polyglossa.vectors import OUTPUT_DTYPES

VECTORS = np.array([[0.6, -0.8, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], np.float32)


@pytest.mark.parametrize(
    ("field", "table"), [("output_dtype", OUTPUT_DTYPES), ("encoding_format", {**ENCODINGS, "bytes": "the body alone"})]
)
def test_a_request_may_name_what_there_is_and_nothing_else(field: str, table: dict[str, object]) -> None:
    assert set(get_args(get_type_hints(EmbeddingRequest)[field])) == set(table)


def test_types_keep_what_they_promise() -> None:
    np.testing.assert_array_equal(OUTPUT_DTYPES["float32"](VECTORS), VECTORS)
    np.testing.assert_allclose(OUTPUT_DTYPES["float16"](VECTORS), VECTORS, atol=1e-3)
    assert OUTPUT_DTYPES["int8"](VECTORS).tolist() == [[95, -127, 0, 0], [0, 0, 127, 0]]
    assert OUTPUT_DTYPES["binary"](VECTORS).tolist() == [[0b10000000], [0b00100000]]


def test_an_added_encoding_is_what_answers_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODINGS, "hex", lambda vector: b'"%b"' % vector.tobytes().hex().encode())
    answers = {name: orjson.loads(asyncio.run(embedding_list(VECTORS, name, "m", 3))) for name in ENCODINGS}
    first = {name: answer["data"][0]["embedding"] for name, answer in answers.items()}
    np.testing.assert_allclose(first["float"], VECTORS[0])
    assert base64.b64decode(first["base64"]) == bytes.fromhex(first["hex"]) == VECTORS[0].tobytes()
