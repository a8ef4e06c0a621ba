"""Any chat endpoint answers a prompt, or says in one line why not: one text's refusal costs that text alone."""

import pytest

from polyglossa.endpoint.chat import ChatClient, Completion, fill_in, first_line
from polyglossa.endpoint.errors import TextRefused
from polyglossa.errors import EndpointError, RequestRefused, UserError
from tests.endpoint.fake import Fake, running


def client(url: str, **options: object) -> ChatClient:
    return ChatClient(url, "m", sleep=lambda _: None, **{"patience_seconds": 1.0} | options)  # type: ignore[arg-type]


def test_answers_come_in_order_without_thoughts_and_with_their_tokens() -> None:
    with running(Fake(says=lambda prompt: f"<think>hm\nhm</think>\n {prompt}!")) as url:
        answers = list(client(url, in_flight=3).ask_all([f"say {number}" for number in range(20)]))
    assert answers == [(number, Completion(f"say {number}!", 2, 4)) for number in range(20)]


def test_a_refused_prompt_costs_itself_alone_and_is_not_asked_again() -> None:
    fake = Fake()
    with running(fake) as url:
        answers = dict(client(url).ask_all(["a", "filtered", "b"]))
    assert isinstance(answers[1], TextRefused)
    assert [answers[place].text for place in (0, 2)] == ["a", "b"]  # type: ignore[union-attr]
    assert len(fake.asked) == 3


def test_what_was_answered_comes_before_an_endpoint_that_stops() -> None:
    answers: list[int] = []

    def take(url: str) -> None:
        for position, _ in client(url, in_flight=1).ask_all([str(number) for number in range(10)]):
            answers.append(position)

    with running(Fake(stops_after=4)) as url, pytest.raises(EndpointError, match=r"/chat/completions: .*asked \d+"):
        take(url)
    assert answers == [0, 1, 2, 3]


def test_wrong_keys_models_and_pages_are_one_line_and_the_key_is_in_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_KEY", "sk-wrong")
    with running(Fake(key="sk-right")) as url, pytest.raises(RequestRefused, match="variable CHAT_KEY, which") as error:
        client(url, key_variable="CHAT_KEY").ask("a")
    assert "sk-" not in str(error.value)
    with running(Fake(model="other")) as url, pytest.raises(RequestRefused, match="refuses with 404"):
        client(url).ask("a")
    with running(Fake(broken="html")) as url, pytest.raises(EndpointError, match="no chat completion: '<html>"):
        client(url).ask("a")
    with pytest.raises(UserError, match="the address holds a key"):
        client("http://me:sk-1@host/v1")


def test_a_busy_endpoint_is_waited_for() -> None:
    with running(Fake(busy=2)) as url:
        assert client(url, patience_seconds=30.0).ask("a").text == "a"


def test_texts_stand_in_their_places_whatever_they_hold() -> None:
    filled = fill_in("{query} / {document} / {other}", query="{document}", document="{query} $1 \\1")
    assert filled == "{document} / {query} $1 \\1 / {other}"
    assert first_line("1. What is it?\n2. Why?") == "What is it?"
    assert first_line('\n - "What is it?"\nIt is.') == "What is it?"
