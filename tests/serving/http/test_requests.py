"""Requests as clients of other servers send them are answered; what cannot be is refused by the wrong element."""

import codecs
import gzip
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyglossa.serving.http.foreign_fields import OPENAI, SIMILARITY, TEI
from polyglossa.serving.http.schema import EmbeddingRequest, EmbedRequest, SimilarityParameters, SimilarityRequest
from tests.serving.asking import EMBED, embed, refusal

ROUTES = {
    EMBED: (EmbeddingRequest, {"model": "base", "input": "Saksa"}),
    "/embed": (EmbedRequest, {"inputs": "Saksa"}),
    "/similarity": (SimilarityRequest, {"inputs": {"source_sentence": "Saksa", "sentences": ["Germany"]}}),
}
HALF = "\ud83d"


def message(answer: Any) -> str:
    return answer.json()["error"]["message"]


def refused(client: Any, body: bytes | dict[str, Any], route: str = EMBED, **headers: str) -> tuple[int, str]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(route, content=content, headers=headers)
    refusal(answer)
    return answer.status_code, message(answer)


@pytest.mark.parametrize("route", ROUTES)
def test_null_is_as_if_the_field_were_absent(open_api, route: str) -> None:
    client, (model, body) = open_api(), ROUTES[route]
    expected = client.post(route, json=body)
    optional = {name: None for name, field in model.model_fields.items() if not field.is_required()}
    foreign = dict.fromkeys([*OPENAI, *TEI, *SIMILARITY])
    for nulls in ({name: None} for name in [*optional, *foreign]):
        answer = client.post(route, json=nulls | body)
        assert (answer.status_code, answer.content) == (200, expected.content), nulls
    assert client.post(route, json=foreign | optional | body).content == expected.content


def test_null_parameters_of_similarity_are_absent_too(open_api) -> None:
    client, body = open_api(), ROUTES["/similarity"][1]
    expected = client.post("/similarity", json=body).content
    for name in SimilarityParameters.model_fields:
        assert client.post("/similarity", json=body | {"parameters": {name: None}}).content == expected


@pytest.mark.parametrize("route", ROUTES)
def test_null_of_a_required_field_is_named(open_api, route: str) -> None:
    client, (model, body) = open_api(), ROUTES[route]
    for name in (name for name, field in model.model_fields.items() if field.is_required()):
        assert refused(client, body | {name: None}, route) == (422, f"{name}: is null, and has no default.")


WORDS = [
    (EMBED, "encoding_format", ["float", "base64"]),
    (EMBED, "output_dtype", ["float32", "float16", "int8", "binary"]),
    (EMBED, "input_type", ["query", "document"]),
    (EMBED, "truncate", ["end", "start", "error"]),
    ("/embed", "truncation_direction", ["left", "right"]),
]


@pytest.mark.parametrize(("route", "field", "words"), WORDS)
def test_words_are_taken_in_any_case(open_api, route: str, field: str, words: list[str]) -> None:
    client, body = open_api(), ROUTES[route][1] | ({} if route == EMBED else {"truncate": True})
    for word in words:
        expected = client.post(route, json=body | {field: word})
        assert expected.status_code == 200
        for other in (word.upper(), word.title()):
            assert client.post(route, json=body | {field: other}).content == expected.content


def test_other_servers_words_mean_ours(open_api) -> None:
    client, long = open_api(), "Germany Deutschland " * 40
    same = [("input_type", "search_query", "query"), ("input_type", "passage", "document"), ("truncate", True, "end")]
    for field, theirs, ours in [*same, ("truncate", "LEFT", "start"), ("output_dtype", "float", "float32")]:
        np.testing.assert_array_equal(embed(client, long, **{field: theirs}), embed(client, long, **{field: ours}))
    for none in ("NONE", False):
        answer = client.post(EMBED, json={"model": "base", "input": long, "truncate": none})
        assert refusal(answer)[:2] == (413, "text_too_long")


ANY_INPUT = "; it must be a text, a list of texts, a list of token ids, or a list of lists of them."


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ([], "input: is an empty list; it must hold at least one text."),
        ([["a"]], "input[0][0]: is a text; a list within the list holds token ids, and texts stand in one list."),
        (["a", None], "input[1]: is null; it must be a text, as input[0] is."),
        (["a", "b", 3], "input[2]: is a whole number; it must be a text, as input[0] is."),
        ([1, "a"], "input[1]: is a text; it must be a token id, as input[0] is."),
        ([1, 2.5], "input[1]: is a number with a fraction; it must be a token id, as input[0] is."),
        ([[1], ["a"]], "input[1][0]: is a text; a list within the list holds token ids, and texts stand in one list."),
        ([[1], "a"], "input[1]: is a text; it must be a list of token ids, as input[0] is."),
        ([[1], []], "input[1]: is an empty list; it must hold at least one token id."),
        ([[1, None]], "input[0][1]: is null; it must be a token id."),
        ([[[1]]], "input[0][0]: is a list; it must be a token id."),
        ([-1], "input[0]: is no token id; they lie within 0 … 2147483647."),
        ([3, 400], "input[1]: is 400; token ids of base lie within 0 … 399."),
        ([[3], [3, 400]], "input[1][1]: is 400; token ids of base lie within 0 … 399."),
        ([True], "input[0]: is true; it must be a text."),
        ([1, True], "input[1]: is true; it must be a token id, as input[0] is."),
        ([None], "input[0]: is null; it must be a text."),
        ([{"text": "a"}], "input[0]: is an object; it must be a text."),
        ({}, "input: is an object" + ANY_INPUT),
        (True, "input: is true" + ANY_INPUT),
        (7, "input: is a whole number" + ANY_INPUT),
        (HALF, "input: holds half of a surrogate pair (U+D83D), which is no character."),
        (["a", f"b{HALF}c"], "input[1]: holds half of a surrogate pair (U+D83D), which is no character."),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_input_is_told_by_its_element(open_api, given_: Any, said: str) -> None:
    assert refused(open_api(), {"model": "base", "input": given_}) == (422, said)


def test_wrong_inputs_of_tei_are_told_by_their_element(open_api) -> None:
    client = open_api()
    for given_, said in (
        ([], "inputs: is an empty list; it must hold at least one text."),
        (["a", HALF], "inputs[1]: holds half of a surrogate pair (U+D83D), which is no character."),
        ([1, 2], "inputs[0]: is a whole number; it must be a text."),
        ({}, "inputs: is an object; it must be a text, a list of texts."),
    ):
        assert refused(client, {"inputs": given_}, "/embed") == (422, said)
    for pair, said in (
        (["a"], "inputs: must be an object, not a list."),
        (
            {"source_sentence": "a", "sentences": []},
            "inputs.sentences: is an empty list; it must hold at least one text.",
        ),
        ({"source_sentence": "a", "sentences": ["b", 1]}, "inputs.sentences[1]: is a whole number; it must be a text."),
        ({"source_sentence": 1, "sentences": ["b"]}, "inputs.source_sentence: must be a text, not a whole number."),
        ({"source_sentence": "a"}, "inputs.sentences: is missing."),
    ):
        assert refused(client, {"inputs": pair}, "/similarity") == (422, said)


def test_wrong_values_are_told_with_what_is_allowed(open_api) -> None:
    client = open_api()
    for field, value, said in (
        ("encoding_format", "md5", "encoding_format: must be 'float', 'base64' or 'bytes', not another text."),
        ("encoding_format", 1, "encoding_format: must be 'float', 'base64' or 'bytes', not a whole number."),
        ("dimensions", "8", "dimensions: must be a whole number, not a text."),
        ("dimensions", 8.0, "dimensions: must be a whole number, not a number with a fraction."),
        ("dimensions", True, "dimensions: must be a whole number, not true."),
        ("dimensions", 0, "dimensions: must be at least 1."),
        ("dimensions", 10**400, "dimensions: must be at most 1048576."),
        ("instruction", ["a"], "instruction: must be a text, not a list."),
        ("instruction", HALF, "instruction: holds half of a surrogate pair (U+D83D), which is no character."),
        ("model", HALF, "model: holds half of a surrogate pair (U+D83D), which is no character."),
    ):
        assert refused(client, {"model": "base", "input": "a", field: value}) == (422, said), field


def test_an_empty_text_is_a_text(open_api) -> None:
    assert embed(open_api(), ["", " ", "a"]).shape == (3, 32)


TEXT = {"model": "base", "input": "Größe ドイツ 🙂"}


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("escaped", [True, False])
def test_a_body_is_read_in_every_encoding_of_unicode(open_api, charset: str, escaped: bool) -> None:
    client = open_api()
    expected = client.post(EMBED, json=TEXT).content
    body = json.dumps(TEXT, ensure_ascii=escaped).encode(charset)
    assert client.post(EMBED, content=body).content == expected


@pytest.mark.parametrize(
    "charset", ["utf-8", "UTF8", '"utf-8"', "utf-16", "iso-8859-1", "latin1", "windows-1252", "us-ascii"]
)
def test_the_charset_of_the_content_type_is_taken(open_api, charset: str) -> None:
    client, text = open_api(), "Grosse" if charset == "us-ascii" else "Größe"
    body = json.dumps({"model": "base", "input": text}, ensure_ascii=False).encode(charset.strip('"'))
    answer = client.post(EMBED, content=body, headers={"content-type": f"application/json; charset={charset}"})
    assert answer.content == client.post(EMBED, json={"model": "base", "input": text}).content


@pytest.mark.parametrize("charset", ["klingon", "rot13", "zip", "unicode_escape", "utf-7"])
def test_an_unknown_charset_is_refused(open_api, charset: str) -> None:
    header = f"application/json; charset={charset}".encode("latin-1")
    answer = open_api().post(EMBED, content=b'{"model":"base","input":"a"}', headers={b"content-type": header})
    assert refusal(answer)[:2] == (415, "unknown_charset")


def test_a_compressed_body_is_refused_as_such(open_api) -> None:
    body = gzip.compress(b'{"model":"base","input":"a"}')
    assert refused(open_api(), body, **{"content-encoding": "gzip"})[0] == 415


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json;charset", "a/b; charset=é", "é;;=", ""],
)
def test_any_content_type_without_a_charset_is_taken(open_api, content_type: str) -> None:
    header = {b"content-type": content_type.encode("latin-1")}
    assert open_api().post(EMBED, content=b'{"model":"base","input":"a"}', headers=header).status_code == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The body is empty."),
        (b" \n", "The body is empty."),
        (codecs.BOM_UTF8, "The body is not JSON: Expecting value at line 1 column 1."),
        (b'{"model": "base", "input": "\xff"}', "The body is not UTF-8: its byte 28 cannot be read. Send UTF-8."),
        (b'{"model": "base", "input": NaN}', "The body is not read: NaN is no JSON number."),
        (b'{"model": "base", "input": -Infinity}', "The body is not read: -Infinity is no JSON number."),
        (b'{"input": "a", "input": "b"}', "The body is not read: the field 'input' stands in it twice."),
        (b'{"model": "base", "input": [' + b"9" * 5000 + b"]}", "The body is not read: a number has too many digits."),
        (b'{"input": ' + b"[" * 100_000, "The body is not read: it is nested too deeply."),
        (b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "The body is not read: it is nested too deeply."),
        (b'{"model": "base", "input": "a"} x', "The body is not JSON: Extra data at line 1 column 33."),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused_with_its_place(open_api, body: bytes, said: str) -> None:
    assert refused(open_api(), body) == (400, said)


def test_halves_of_surrogate_pairs_are_errors_of_their_field_in_every_spelling(open_api) -> None:
    client = open_api()
    for half in (rb"\ud83d", rb"\uDE42", b"\xed\xa0\xbd"):
        status, said = refused(client, b'{"model": "base", "input": ["a", "b' + half + b'"]}')
        assert (status, said.partition(":")[0]) == (422, "input[1]")
        answer = client.post(EMBED, content=b'{"model": "base", "input": "a", "in' + half + b'put": 1}')
        assert refusal(answer)[:2] == (422, "unknown_field")
    pair = client.post(EMBED, content=rb'{"model": "base", "input": "\ud83d\ude42"}')
    assert pair.content == client.post(EMBED, json={"model": "base", "input": "🙂"}).content


BODIES = {
    # LiteLLM 1.80.11 and later, see https://github.com/BerriAI/litellm/issues/19174
    "litellm": {"model": "base", "input": ["Saksa"], "encoding_format": None},
    "openai": {"input": ["Saksa"], "model": "base", "encoding_format": "base64", "user": "me", "dimensions": None},
    # vllm/entrypoints/pooling/embed/protocol.py, EmbeddingCompletionRequest with its defaults
    "vllm": {
        "model": "base", "input": ["Saksa"], "encoding_format": "float", "dimensions": None, "user": None,
        "truncate_prompt_tokens": None, "add_special_tokens": True, "priority": 0, "request_id": "1f",
        "normalize": None, "embed_dtype": "float32", "endianness": "native",
    },
    "jina": {
        "model": "base", "input": ["Saksa"], "normalized": True, "embedding_type": "float", "late_chunking": False,
        "truncate": True,
    },
    "voyage": {
        "model": "base", "input": ["Saksa"], "input_type": None, "truncation": True, "output_dimension": None,
        "output_dtype": "float", "encoding_format": None,
    },
    "ollama": {"model": "base", "input": ["Saksa"], "truncate": True, "options": {}, "keep_alive": "5m"},
}  # fmt: skip


@pytest.mark.parametrize("client_name", BODIES)
def test_bodies_of_other_clients_get_the_same_vector(open_api, client_name: str) -> None:
    client = open_api()
    body = {**BODIES[client_name], "encoding_format": "float"}
    answer = client.post(EMBED, json=body)
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(answer.json()["data"][0]["embedding"], embed(client, "Saksa")[0])
    assert client.post(EMBED, json=BODIES[client_name]).status_code == 200


def test_a_foreign_field_that_asks_for_other_vectors_is_refused_with_what_to_send(open_api) -> None:
    client = open_api()
    for field, value, hint in (
        ("normalize", False, "use /embed"),
        ("truncate_prompt_tokens", 128, "limit only"),
        ("late_chunking", True, "one by one"),
        ("output_dimension", 8, "set dimensions"),
        ("embedding_types", ["int8"], "output_dtype"),
    ):
        answer = client.post(EMBED, json={"model": "base", "input": "a", field: value})
        assert refusal(answer) == (422, "unknown_field", field)
        assert hint in message(answer)


MISSPELT = [
    (route, name, place)
    for route, (model, _) in ROUTES.items()
    for name in model.model_fields
    for place in range(1, len(name))
]


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(wrong=st.sampled_from(MISSPELT), how=st.sampled_from(["without", "twice", "upper", "hyphen"]))
def test_a_misspelt_field_is_told_apart_from_a_foreign_one(
    shared_client, wrong: tuple[str, str, int], how: str
) -> None:
    route, name, place = wrong
    spelt = {
        "without": name[:place] + name[place + 1 :],
        "twice": name[:place] + name[place - 1 :],
        "upper": name.title(),
        "hyphen": name.replace("_", "-") if "_" in name else f"{name}s",
    }[how]
    model, body = ROUTES[route]
    if spelt in {*model.model_fields, *model.foreign}:
        return
    answer = shared_client.post(route, json={**body, spelt: "x"})
    assert refusal(answer) == (422, "unknown_field", spelt)
    assert "did you mean " in message(answer), spelt


def test_a_field_of_nobody_is_refused_with_those_there_are(open_api) -> None:
    said = refused(open_api(), {"model": "base", "input": "a", "colour": "red"})[1]
    assert said.startswith("colour: no such field is known here; there are input, model, dimensions, ")


ATOMS = st.none() | st.booleans() | st.integers(-3, 500) | st.text(st.characters(), max_size=3) | st.floats()
VALUES = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(value=VALUES, half=st.booleans(), escaped=st.booleans())
def test_every_input_gets_vectors_or_the_place_of_what_is_wrong(
    shared_client, value: Any, half: bool, escaped: bool
) -> None:
    if half and isinstance(value, list):
        value = [*value, HALF]
    body = json.dumps({"model": "base", "input": value}, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    answer = shared_client.post(EMBED, content=body)
    if answer.status_code == 200:
        count = len(value) if isinstance(value, list) and isinstance(value[0], str | list) else 1
        assert len(answer.json()["data"]) == count
        return
    status, _, param = refusal(answer)
    assert status in (400, 413, 422)
    if status == 422:
        assert param == "input"
        assert message(answer).startswith("input")
        assert "is not valid" not in message(answer)


GETS = ["/health", "/ready", "/v1/models", "/v1/models/base", "/metrics", "/", "/openapi.json"]


@pytest.mark.parametrize("path", GETS)
def test_head_answers_as_get_without_a_body(open_api, path: str) -> None:
    client = open_api()
    got, asked = client.get(path), client.head(path)
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-type"] == got.headers["content-type"]
    if path != "/metrics":
        assert asked.headers["content-length"] == str(len(got.content))


def test_head_of_other_paths_is_refused_as_get_is(open_api) -> None:
    client = open_api()
    assert client.head("/nowhere").status_code == 404
    assert client.head("/v1/models/huge").status_code == 404
    assert (client.head(EMBED).status_code, client.head(EMBED).headers["allow"]) == (405, "POST")


def test_every_route_with_get_is_tried_here(open_api) -> None:
    paths = open_api().get("/openapi.json").json()["paths"]
    assert {path for path, methods in paths.items() if "get" in methods} <= {*GETS, "/v1/models/{name}"}


@pytest.mark.parametrize(
    "path", ["/v1/embeddings/", "/v1//embeddings", "http://testserver//v1/embeddings", "/v1/embeddings//"]
)
def test_slashes_at_the_end_and_twice_are_no_other_route(open_api, path: str) -> None:
    client = open_api()
    body = {"model": "base", "input": "Saksa"}
    answer = client.post(path, json=body, follow_redirects=False)
    assert answer.content == client.post(EMBED, json=body).content
    assert client.get("/health/", follow_redirects=False).text == "ok"
    assert client.get("/v1/models/base/", follow_redirects=False).json()["id"] == "base"
