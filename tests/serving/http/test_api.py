"""The HTTP interface over local members, without Ray: shapes, formats, refusals, limits, keys."""

import base64
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest

from tests.serving.asking import EMBED, embed, refusal


def test_every_output_format_tells_the_same_vector(open_api) -> None:
    client = open_api()
    full = embed(client, ["Saksa", "Germany"])
    raw = client.post(EMBED, json={"model": "base", "input": "Saksa", "encoding_format": "base64"}).json()
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(raw["data"][0]["embedding"]), "<f4"), full[0], atol=1e-6)
    small = embed(client, ["Saksa", "Germany"], output_dtype="int8")
    assert np.abs(small).max() == 127
    cosines = (small * full).sum(1) / np.linalg.norm(small, axis=1)
    assert cosines.min() > 0.999
    bits = embed(client, "Saksa", output_dtype="binary").astype(np.uint8)
    assert (np.unpackbits(bits[0]) == (full[0] > 0)).all()


def test_usage_counts_the_tokens_of_prompt_and_text(open_api, local) -> None:
    answer = open_api().post(EMBED, json={"model": "base", "input": ["Saksa"], "input_type": "query"}).json()
    expected = len(local["base"].encoder.tokenize(["Instruct: Find it.\nQuery: Saksa"])[0])
    assert answer["usage"] == {"prompt_tokens": expected, "total_tokens": expected}


def test_instruction_is_the_encoders_own_rendering(open_api, local) -> None:
    got = embed(open_api(), "Saksa", instruction="Name the country.")
    expected = local["base"].encoder.encode(["Saksa"], instruction="Name the country.")
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_too_long_text_is_cut_at_the_end_at_the_start_or_refused(open_api, local) -> None:
    client, encoder = open_api(), local["base"].encoder
    text = "Germany Deutschland " * 40
    ids = encoder.tokenizer(text)["input_ids"]
    from_start, from_end = ids[:63] + ids[-1:], ids[-64:]
    np.testing.assert_allclose(embed(client, text), embed(client, from_start), atol=1e-6)
    np.testing.assert_allclose(embed(client, text, truncate="start"), embed(client, from_end), atol=1e-6)
    assert refusal(client.post(EMBED, json={"model": "base", "input": text, "truncate": "error"}))[:2] == (
        413,
        "text_too_long",
    )


def test_tei_embed_and_similarity_agree_with_openai(open_api) -> None:
    client = open_api()
    vectors = embed(client, ["Saksa", "Germany", "ドイツ"])
    np.testing.assert_allclose(client.post("/embed", json={"inputs": "Saksa"}).json(), vectors[:1], atol=1e-6)
    raw = np.array(client.post("/embed", json={"inputs": "Saksa", "normalize": False, "dimensions": 8}).json())
    np.testing.assert_allclose(raw / np.linalg.norm(raw), embed(client, "Saksa", dimensions=8), atol=1e-5)
    body = {"inputs": {"source_sentence": "Saksa", "sentences": ["Germany", "ドイツ"]}}
    np.testing.assert_allclose(client.post("/similarity", json=body).json(), vectors[1:] @ vectors[0], atol=1e-5)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "malformed_json", None)),
        (b"\xff\xfe", (400, "malformed_json", None)),
        (b"[]", (422, "invalid_field", None)),
        (b'{"model": "base"}', (422, "missing_field", "input")),
        (b'{"model": "base", "input": "a", "dimension": 8}', (422, "unknown_field", "dimension")),
        (b'{"model": "base", "input": []}', (422, "invalid_field", "input")),
        (b'{"model": "base", "input": [[]]}', (422, "invalid_field", "input")),
        (b'{"model": "base", "input": ["a", 1]}', (422, "invalid_field", "input")),
        (b'{"model": "base", "input": [-1]}', (422, "invalid_field", "input")),
        (b'{"model": "base", "input": [400]}', (422, "invalid_field", "input")),
        (b'{"model": "base", "input": [99999999999999999999]}', (422, "invalid_field", "input")),
        (b'{"model": "base", "input": "a", "dimensions": 0}', (422, "invalid_field", "dimensions")),
        (b'{"model": "base", "input": "a", "dimensions": 33}', (422, "invalid_field", "dimensions")),
        (b'{"model":"base","input":"a","dimensions":9,"output_dtype":"binary"}', (422, "invalid_field", "dimensions")),
        (b'{"model": "huge", "input": "a"}', (404, "model_not_found", "model")),
    ],
)  # fmt: skip
def test_bad_body_is_refused_by_name(open_api, body: bytes, expected: tuple[int, str, str | None]) -> None:
    assert refusal(open_api().post(EMBED, content=body)) == expected


def test_limits_of_a_request_are_413(open_api) -> None:
    client = open_api(limits={"request_bytes": 2048, "request_items": 3, "request_tokens": 100})
    assert refusal(client.post(EMBED, json={"model": "base", "input": "a" * 3000}))[:2] == (413, "request_too_large")
    assert refusal(client.post(EMBED, json={"model": "base", "input": list("abcd")}))[:2] == (413, "too_many_items")
    texts = [f"{n} " + "x y " * 40 for n in range(3)]
    assert refusal(client.post(EMBED, json={"model": "base", "input": texts}))[:2] == (413, "too_many_tokens")


def test_unknown_path_wrong_method_and_rerank_are_refused_in_shape(open_api) -> None:
    client = open_api()
    assert refusal(client.get("/nowhere")) == (404, "not_found", None)
    assert refusal(client.get(EMBED)) == (405, "method_not_allowed", None)
    assert refusal(client.post("/v1/rerank", json={})) == (404, "rerank_not_offered", None)


def test_keys_open_only_what_they_may_and_revoking_works_at_once(open_api, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    entries = [
        {"name": "one", "sha256": hashlib.sha256(b"k1").hexdigest(), "members": ["small"]},
        {"name": "all", "sha256": hashlib.sha256(b"k2").hexdigest(), "requests_per_minute": 12},
    ]
    file.write_text(json.dumps(entries))
    client = open_api(keys_file=str(file))

    def ask(key: str | None, model: str = "base"):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return client.post(EMBED, json={"model": model, "input": "a"}, headers=headers)

    assert refusal(ask(None)) == (401, "missing_api_key", None)
    assert refusal(ask("wrong")) == (401, "invalid_api_key", None)
    assert refusal(ask("k1")) == (403, "model_not_allowed", "model")
    assert ask("k1", "small").status_code == 200
    assert [ask("k2").status_code for _ in range(3)] == [200, 200, 429]
    assert refusal(client.get("/v1/models"))[0] == 401
    file.write_text(json.dumps(entries[1:]))
    time.sleep(1.1)
    assert refusal(ask("k1", "small")) == (401, "invalid_api_key", None)


def test_models_announce_compatible_pairs_and_metrics_count(open_api) -> None:
    client = open_api(compatible=[["base", "small"]], aliases={"polyglossa/best": "base"})
    models = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert models["polyglossa/best"]["compatible_with"] == ["small"]
    assert models["small"]["widths"] == [8, 16]
    embed(client, ["a", "b"])
    figures = client.get("/metrics").text
    assert 'polyglossa_texts_total{model="base",replica="r1"} 2.0' in figures
    assert 'polyglossa_batches_total{model="base",outcome="ok",replica="r1"}' in figures


def test_access_log_holds_no_text_and_no_key(open_api, caplog: pytest.LogCaptureFixture) -> None:
    import logging

    logging.getLogger("polyglossa.access").addHandler(caplog.handler)
    client = open_api()
    client.post(EMBED, json={"model": "base", "input": "private words"}, headers={"Authorization": "Bearer k9"})
    assert '"status":200' in caplog.text
    assert "private" not in caplog.text
    assert "k9" not in caplog.text
