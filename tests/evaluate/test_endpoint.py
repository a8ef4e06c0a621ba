"""Any OpenAI-compatible endpoint can be judged; one that fails says how, and is asked again only where that helps."""

import base64
import json

import httpx
import numpy as np
import pytest

from polyglossa.evaluate.endpoint import EndpointError, EndpointSource


def answer(request: httpx.Request) -> httpx.Response:
    texts = json.loads(request.content)["input"]
    rows = [
        {"index": index, "embedding": base64.b64encode(np.float32([len(text), 1.0]).tobytes()).decode()}
        for index, text in enumerate(texts)
    ]
    return httpx.Response(200, json={"data": rows[::-1]})


def test_vectors_come_in_the_order_of_the_texts() -> None:
    source = EndpointSource("http://x/v1", "m", batch=2, transport=httpx.MockTransport(answer))
    assert source.width == 2
    assert source.embed(["a", "bbb", "cc"])[:, 0].tolist() == [1, 3, 2]


def test_an_endpoint_that_is_busy_is_asked_again() -> None:
    asked = []

    def busy(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(503, text="loading") if len(asked) < 3 else answer(request)

    assert EndpointSource("http://x/v1", "m", transport=httpx.MockTransport(busy)).width == 2


def test_a_refusal_is_not_repeated() -> None:
    asked = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(404, text="no such model")

    with pytest.raises(EndpointError, match="404: no such model"):
        EndpointSource("http://x/v1", "m", transport=httpx.MockTransport(refuse))
    assert len(asked) == 1


def test_a_time_out_is_named() -> None:
    def sleep(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(EndpointError, match="no answer within 2 s"):
        EndpointSource("http://x/v1", "m", timeout_seconds=2, transport=httpx.MockTransport(sleep))
