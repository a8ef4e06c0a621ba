"""A member in the ingress's process, in ONNX, answers with the encoder's vectors, and `/v1/models` says so."""

import httpx
import numpy as np
import pytest

from polyglossa.model.encoder import Encoder
from polyglossa.runtime.ports import free_port
from polyglossa.serving.lifecycle import running_application
from tests.serving.conftest import TEXTS

pytestmark = pytest.mark.slow


def test_a_member_in_the_ingress_answers_as_its_encoder_does(ray_local: None, models: dict[str, str]) -> None:
    members = [
        {"name": "base", "path": models["base"], "engine": "onnx", "colocate": True, "cpus": 0.5},
        {"name": "small", "path": models["small"], "cpus": 0.5},
    ]
    with running_application({"members": members}, port=free_port()) as url:
        told = {one["id"]: one["engine"] for one in httpx.get(f"{url}/v1/models", trust_env=False).json()["data"]}
        assert (told["base"]["name"], told["small"]["name"]) == ("onnx", "torch")
        assert told["base"]["least_cosine"] > 0.9999
        for name in ("base", "small"):
            body = {"model": name, "input": TEXTS, "instruction": ""}
            answer = httpx.post(f"{url}/v1/embeddings", json=body, trust_env=False, timeout=60).json()
            vectors = np.array([one["embedding"] for one in answer["data"]])
            np.testing.assert_allclose(vectors, Encoder.load(models[name]).encode(TEXTS, instruction=""), atol=1e-4)
