"""Whatever is sent, the answer is a vector or a typed refusal: no 5xx, no hang, no growth of memory."""

import gc
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from polyglossa.model.encoder import Encoder
from polyglossa.serving.documents import write_documents

pytestmark = pytest.mark.slow

ROUNDS, BODIES = 20, 520
ROUTES = (
    *("/v1/embeddings", "/embed", "/similarity", "/v1/embed", "/v2/embed"),
    *("/v1/rerank", "/v2/rerank", "/rerank", "/v1/search"),
)
FIELDS = (
    *("input", "inputs", "model", "dimensions", "encoding_format", "output_dtype", "input_type", "instruction"),
    *("truncate", "truncation_direction", "normalize", "prompt_name", "parameters", "source_sentence", "sentences"),
    *(
        "texts",
        "embedding_types",
        "output_dimension",
        "query",
        "documents",
        "top_n",
        "limit",
        "return_documents",
        "text",
    ),
    *("user", "other", "Input", "normalized", "task", "options", "truncate_prompt_tokens", "add_special_tokens"),
)
WORDS = (
    *("base", "small", "huge", "float", "base64", "int8", "binary", "query", "document", "end", "start", "error"),
    "Left",
)

numbers = st.integers() | st.integers(0, 450) | st.floats(allow_nan=True)
leaves = st.none() | st.booleans() | numbers | st.text(max_size=200) | st.sampled_from(WORDS)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)
likely = st.fixed_dictionaries(
    {"model": st.sampled_from(WORDS[:3]), "input": st.text() | st.lists(st.text(), max_size=5) | values},
    optional=dict.fromkeys(FIELDS[3:], values),
)
asked = st.fixed_dictionaries(
    {"query": st.text(max_size=40), "texts": st.lists(st.text(max_size=40), max_size=4)},
    optional={field: values for field in FIELDS if field not in ("query", "texts")},
)
bodies = (
    st.binary(max_size=300)
    | st.dictionaries(st.sampled_from(FIELDS), values, max_size=6).map(lambda body: json.dumps(body).encode())
    | (likely | asked).map(lambda body: json.dumps(body).encode())
    | likely.map(lambda body: json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))
)


async def as_long_as(query: str, texts: Sequence[str]) -> np.ndarray:
    """Score texts by their length: what a cross-encoder would be asked."""
    return np.array([float(len(text)) for text in texts])


def test_ten_thousand_bodies_give_vectors_or_typed_refusals(open_api, models: dict[str, str], tmp_path: Path) -> None:
    texts = pa.table({"source": ["a", "a"], "text": ["Saksa", "Germany"]})
    vectors = {name: Encoder.load(path).encode(["Saksa", "Germany"], width=None) for name, path in models.items()}
    write_documents(str(tmp_path), texts, vectors)
    scores = {"ranker": as_long_as}
    client = open_api(scores, access_log=False, limits={"request_seconds": 20.0}, documents=str(tmp_path))
    statuses: Counter[int] = Counter()

    def ask(route: str, body: bytes) -> None:
        started = time.monotonic()
        answer = client.post(route, content=body)
        assert answer.status_code in (200, 400, 404, 413, 422), (route, body, answer.text)
        assert time.monotonic() - started < 15
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        statuses[answer.status_code] += 1

    memory = []
    for round_ in range(ROUNDS):  # hypothesis remembers every example of a run; in rounds, what grows is the server's
        once = settings(max_examples=BODIES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        once(seed(round_)(given(st.sampled_from(ROUTES), bodies)(ask)))()
        gc.collect()
        memory.append(psutil.Process().memory_info().rss)
    assert statuses.total() >= 10_000
    assert {200, 400, 404, 422} <= statuses.keys()
    assert memory[-1] - memory[ROUNDS // 4] < 60 * 1024 * 1024, memory


def test_bodies_made_from_the_openapi_document_are_answered(open_api) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    client = open_api(access_log=False)
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/v1/embeddings", "/embed", "/similarity", "/v1/models"}
    for operation in operations:
        ask_many(client, operation)


def ask_many(client, operation) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(operation.as_strategy())
    def run(case) -> None:
        body = case.body if isinstance(case.body, dict | list | str) else {}
        path = case.formatted_path
        answer = client.request(case.method, path, json=body) if case.method == "POST" else client.get(path)
        assert answer.status_code < 500, (operation.path, case.body, answer.text)

    run()
