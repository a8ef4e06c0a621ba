"""Any OpenAI-compatible endpoint gives its vectors beside their texts, or one clear error: never a wrong vector."""

import json
import logging
import pickle
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.endpoint import EndpointClient
from polyglossa.endpoint.answer import check_status, retry_after
from polyglossa.endpoint.batching import RequestLimits
from polyglossa.endpoint.errors import Busy, TimedOut, TooLarge
from polyglossa.errors import EndpointError, PolyglossaError, RequestRefused, UserError
from tests.endpoint.fake import Fake, running

TEXTS = [f"text number {number} of many" for number in range(300)]


@contextmanager
def reached(fake: Fake, **options: Any) -> Iterator[EndpointClient]:
    with running(fake) as url:
        yield EndpointClient(url, fake.model, **options)


def numbers(request: httpx.Request) -> httpx.Response:
    """Answer a request with a vector a text."""
    texts = json.loads(request.content)["input"]
    return httpx.Response(200, json={"data": [{"index": row, "embedding": [1.0, 2.0]} for row in range(len(texts))]})


@pytest.mark.parametrize(
    "fake",
    [
        Fake(),
        Fake(says_base64=False),
        Fake(formats=("float", None)),
        Fake(formats=(None,)),
        Fake(base64_type="<f8"),
        Fake(base64_type="<f2"),
        Fake(most_texts=32),
        Fake(most_texts=1),
        Fake(most_bytes=700, too_large=(413, "Request Entity Too Large")),
        Fake(most_texts=20, too_large=(422, "List should have at most 20 items after validation, not 256")),
        Fake(most_bytes=900, too_large=(400, "max 300 tokens per request")),
        Fake(most_texts=20, too_large=(500, "input is too large to process. increase the physical batch size")),
        Fake(most_texts=20, too_large=(400, "Invalid 'input': maximum array length is 20")),
        Fake(busy=2),
        Fake(busy=2, busy_status=503),
        Fake(drops=2),
    ],
    ids=lambda fake: str({name: value for name, value in vars(fake).items() if value != getattr(Fake(), name)}),
)
def test_vectors_stand_beside_their_texts_whatever_the_endpoint_takes(fake: Fake) -> None:
    with reached(fake, sleep=lambda _: None) as client:
        np.testing.assert_allclose(client.embed(TEXTS), fake.vectors(TEXTS, 0), atol=2e-3)
        assert client.width == fake.width
        assert client.embed([]).shape == (0, fake.width)


def test_numbers_are_asked_for_where_base64_is_refused_or_means_something_else() -> None:
    for fake, asked in ((Fake(), "base64"), (Fake(formats=("float",)), "float"), (Fake(base64_type="<f2"), "float")):
        with reached(fake) as client:
            fake.asked.clear()
            client.embed(TEXTS)
        assert {body.get("encoding_format") for body in fake.asked} == {asked}


def test_working_size_is_learned_once() -> None:
    fake = Fake(most_texts=32)
    with reached(fake, in_flight=1) as client:
        client.embed(TEXTS)
        fake.asked.clear()
        client.embed(TEXTS)
    assert [len(body["input"]) for body in fake.asked] == [32] * 9 + [12]


def test_bytes_are_learned_apart_from_counts() -> None:
    fake = Fake(most_bytes=2000, too_large=(413, "Payload Too Large"))
    with reached(fake, in_flight=1) as client:
        client.embed([f"{number} " + "word " * 100 for number in range(20)])
        fake.asked.clear()
        client.embed(["a"] * 100)
    assert len(fake.asked) == 1


def test_some_requests_are_in_flight_and_no_more() -> None:
    fake = Fake(seconds=0.01)
    with reached(fake, most_texts=8, in_flight=3) as client:
        client.embed(TEXTS[:120])
    assert 1 < fake.most_in_flight <= 3


def test_retry_after_is_honoured_with_back_off_beyond_it() -> None:
    pauses: list[float] = []
    with reached(Fake(busy=4, retry_after="7"), sleep=pauses.append):
        pass
    assert len(pauses) == 4
    assert all(pause >= 7.5 for pause in pauses)
    assert pauses == sorted(pauses)


def test_retry_after_may_be_seconds_a_date_milliseconds_or_nonsense() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after(httpx.Headers({"retry-after": "1.5"})) == 1.5
    assert 20 < retry_after(httpx.Headers({"retry-after": soon})) <= 30
    assert retry_after(httpx.Headers({"retry-after-ms": "250"})) == 0.25
    for said in ("soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", ""):
        assert retry_after(httpx.Headers({"retry-after": said})) == 0


def test_an_endpoint_that_is_busy_for_ever_is_one_error_within_the_patience() -> None:
    pauses: list[float] = []
    fake = Fake()
    with reached(fake, patience_seconds=100, sleep=pauses.append, in_flight=1) as client:
        fake.busy, pauses[:] = 10**9, []
        with pytest.raises(EndpointError, match=r"/embeddings: status 429: .*Rate limit.*asked \d+ times") as error:
            client.embed(TEXTS)
        assert sum(pauses) <= 100
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400
        pauses.clear()
        with pytest.raises(EndpointError, match="status 429"):
            client.embed(["the next call does not wait as long again"])
        assert sum(pauses) <= 5
        fake.busy = 3
        assert client.embed(["a"]).shape == (1, 16)


def test_a_wait_longer_than_the_patience_is_not_begun() -> None:
    pauses: list[float] = []
    with pytest.raises(EndpointError, match="asks to wait 3600 s"), reached(
        Fake(busy=9, retry_after="3600"), sleep=pauses.append
    ):  # fmt: skip
        pass
    assert pauses == []


def test_a_spent_quota_is_not_asked_again() -> None:
    said = httpx.Response(
        429, text='{"error": {"code": "insufficient_quota"}}', request=httpx.Request("POST", "http://x")
    )
    with pytest.raises(RequestRefused, match="insufficient_quota"):
        check_status(said)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("twice", r"index twice 0; never 1 \(texts 0 to 2\)"),
        ("hole", r"index never 2 "),
        ("no index", "without a whole number `index`"),
        ("html", "not JSON: '<html>It works!</html>'"),
        ("no data", "without a list `data`"),
        ("nan", "the vector of text 1 is not finite"),
    ],
)
@pytest.mark.parametrize("formats", [("base64", "float"), ("float",)], ids=str)
def test_an_answer_that_cannot_be_trusted_is_refused(
    broken: str, message: str, formats: tuple[str | None, ...]
) -> None:
    fake = Fake(formats=formats)
    with reached(fake) as client:
        fake.broken = broken
        with pytest.raises(EndpointError, match=message):
            client.embed(["a", "bad", "c"])


def test_the_position_of_a_bad_vector_is_that_among_all_texts() -> None:
    fake = Fake(broken="nan")
    with reached(fake, most_texts=16) as client, pytest.raises(EndpointError, match="vector of text 277 is not finite"):
        client.embed([*TEXTS[:277], "bad", *TEXTS[278:]])


def test_another_width_in_the_middle_is_refused() -> None:
    fake = Fake(wider_after=100)
    with reached(fake, most_texts=16) as client, pytest.raises(EndpointError, match=r"width 17 .* after .*16"):
        client.embed(TEXTS)


def test_a_text_that_is_refused_alone_is_named() -> None:
    with reached(Fake(longest=50)) as client, pytest.raises(
        RequestRefused, match=r"text 150 is refused even alone: status 400.*maximum context length"
    ):  # fmt: skip
        client.embed([*TEXTS[:150], "long " * 60, *TEXTS[150:]])


def test_half_a_surrogate_pair_is_named_before_anything_is_sent() -> None:
    fake = Fake()
    with reached(fake) as client:
        fake.asked.clear()
        with pytest.raises(UserError, match="text 2 holds half of a surrogate pair"):
            client.embed(["a", "b", "\ud83d", "d"])
    assert fake.asked == []


def test_a_slow_endpoint_gets_smaller_requests_and_a_dead_one_is_named() -> None:
    fake = Fake()
    with reached(fake, timeout_seconds=0.4) as client:
        fake.seconds = 0.02
        np.testing.assert_allclose(client.embed(TEXTS[:60]), fake.vectors(TEXTS[:60], 0), atol=1e-6)
        fake.seconds = 2.0
        with pytest.raises(EndpointError, match=r"no answer within 0.4 s \(text 0\)"):
            client.embed(TEXTS[:2])
    with pytest.raises(EndpointError, match=r"no answer within 0.2 s"), reached(Fake(seconds=2.0), timeout_seconds=0.2):
        pass


def test_nobody_at_the_address_is_found_out_soon() -> None:
    pauses: list[float] = []
    with pytest.raises(EndpointError, match="ConnectError"):
        EndpointClient("http://127.0.0.1:9/v1", "m", sleep=pauses.append)
    assert sum(pauses) <= 5


def test_a_field_that_crashes_the_endpoint_is_left_out() -> None:
    def crash(request: httpx.Request) -> httpx.Response:
        if b"encoding_format" in request.content:
            return httpx.Response(500, text="TypeError")
        return numbers(request)

    client = EndpointClient("http://x/v1", "m", transport=httpx.MockTransport(crash), sleep=lambda _: None)
    assert client.embed(["a"]).tolist() == [[1.0, 2.0]]


def test_a_key_comes_from_a_variable_and_is_seen_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fake = Fake(key="sk-secret-1")
    with ExitStack() as stack:
        monkeypatch.setenv("SOME_KEY", "sk-secret-1")
        client = stack.enter_context(reached(fake, key_variable="SOME_KEY"))
        assert client.embed(["a"]).shape == (1, 16)
        assert "sk-secret-1" not in caplog.text + repr(client)
    monkeypatch.setenv("SOME_KEY", "sk-wrong-2")
    with pytest.raises(RequestRefused, match=r"status 401.*variable SOME_KEY, which is set") as error, reached(
        fake, key_variable="SOME_KEY"
    ):  # fmt: skip
        pass
    assert "sk-" not in str(error.value)
    assert error.value.exit_code == 2
    monkeypatch.delenv("SOME_KEY")
    with pytest.raises(RequestRefused, match="SOME_KEY, which is not set in this process"), reached(
        fake, key_variable="SOME_KEY"
    ):  # fmt: skip
        pass


@pytest.mark.parametrize(
    "url",
    ["http://me:sk-1@host/v1", "http://sk-1@host/v1", "http://host/v1?api-key=sk-1", "http://host/v1?token=sk-1"],
)
def test_an_address_with_a_secret_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(UserError, match="host: the address holds a key") as error:
        EndpointClient(url, "m")
    assert "sk-1" not in str(error.value)


@pytest.mark.parametrize("url", ["", "host/v1", "ftp://host/v1", "http://", "http://[::1/v1"])
def test_what_is_no_address_is_said_in_one_line(url: str) -> None:
    with pytest.raises(UserError, match="is no address"):
        EndpointClient(url, "m")


def test_query_of_an_address_stays_and_slashes_do_not_double() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return numbers(request)

    EndpointClient("http://x/openai/v1/?api-version=preview", "m", transport=httpx.MockTransport(answer))
    assert set(seen) == {"http://x/openai/v1/embeddings?api-version=preview"}


def test_an_unknown_model_is_refused_once_and_is_the_users_mistake() -> None:
    with running(Fake()) as url, pytest.raises(RequestRefused, match=r"status 404: .*model `n` does not exist"):
        EndpointClient(url, "n")


def test_errors_cross_processes() -> None:
    for error in (EndpointError("a"), RequestRefused("b"), Busy("c", 1.0, True), TooLarge("d", False), TimedOut("e")):
        back = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes, as Ray sends them
        assert isinstance(back, type(error))
        assert isinstance(back, PolyglossaError)
        assert back.args == error.args


def test_pending_requests_are_dropped_when_one_fails() -> None:
    fake = Fake()
    with reached(fake, most_texts=1, in_flight=2) as client:
        fake.asked.clear()
        fake.model = "gone"
        with pytest.raises(RequestRefused):
            client.embed(TEXTS)
        time.sleep(0.05)
    assert len(fake.asked) < 10


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=60), most_texts=st.integers(1, 20), most=st.integers(1, 200)
)
def test_spans_hold_every_text_once_in_order_and_within_both_limits(
    sizes: list[int], most_texts: int, most: int
) -> None:
    spans = list(RequestLimits(most_texts, most).cut(sizes, 0, len(sizes)))
    assert [at for begin, end in spans for at in range(begin, end)] == list(range(len(sizes)))
    for begin, end in spans:
        assert end - begin <= most_texts
        assert end - begin == 1 or sum(sizes[begin:end]) <= most


@given(sizes=st.lists(st.integers(1, 50), min_size=2, max_size=60), counts=st.booleans())
def test_a_refused_request_is_never_repeated_whole(sizes: list[int], counts: bool) -> None:
    limits = RequestLimits(len(sizes), sum(sizes))
    limits.shrink(len(sizes), sum(sizes), counts=counts)
    assert all(end - begin < len(sizes) for begin, end in limits.cut(sizes, 0, len(sizes)))
