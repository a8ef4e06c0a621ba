"""Ask an OpenAI-compatible chat endpoint one question at a time, and read what it says.

    chat = ChatClient.of(OutsideModel(model="small", endpoint="http://host:8000/v1", key_variable="MY_KEY"))
    chat.ask("Write one question …").text

Refusals of one text (too long, filtered) and of everything (key, model) are told apart: the first cost a row.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

import httpx
import orjson

from polyglossa.endpoint.errors import TextRefused, TimedOut, TooLarge
from polyglossa.endpoint.patience import PatientClient, reach_of, route_of
from polyglossa.errors import EndpointError, RequestRefused
from polyglossa.recipe.outside import OutsideModel

_OF_ONE_TEXT = ("status 400", "status 413", "status 422")
_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_LISTED = re.compile(r"^\s*\d{1,2}[.)]\s+")
_PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Completion:
    """What an endpoint said."""

    text: str
    """Without what it thought aloud."""
    prompt_tokens: int = 0
    """As it counts them; 0 where it does not say."""
    completion_tokens: int = 0
    cut: bool = False
    """Whether it had more to say than it was allowed to."""


class ChatClient:
    """One model behind one chat endpoint; safe to use from several threads."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str | None = None,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 300.0,
        in_flight: int = 4,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Check the address; nothing is asked yet.

        Args:
            url: base URL, `/v1` included.
            model: name that the endpoint knows.
            key_variable: environment variable that holds the key, sent as a bearer token; None sends none.
            timeout_seconds: of one request.
            patience_seconds: longest time that one request is tried again while the endpoint is busy.
            in_flight: requests under way at a time.
            transport: how requests travel; tests pass their own.
            sleep: how pauses pass; tests pass their own.

        Raises:
            UserError: the address is none, or holds a secret.
        """
        self.url, self.model, self._in_flight = route_of(url, "chat/completions"), model, in_flight
        self._client = PatientClient(
            self.url,
            key_variable=key_variable,
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            in_flight=in_flight,
            transport=transport,
            sleep=sleep,
        )

    @classmethod
    def of(cls, model: OutsideModel, **options: Any) -> "ChatClient":
        """Reach the endpoint that a recipe describes."""
        assert model.endpoint is not None
        return cls(
            model.endpoint,
            model.model,
            **reach_of(model),
            **options,
        )

    def ask(self, prompt: str, *, most_tokens: int | None = None, temperature: float = 0.0) -> Completion:
        """Ask one question.

        Args:
            prompt: what the user says.
            most_tokens: of the answer; None leaves it to the endpoint.
            temperature: 0 asks for the likeliest answer.

        Raises:
            TextRefused: the endpoint will not answer this one.
            RequestRefused: it answers nobody with this key, or has no such model.
            EndpointError: it does not answer in time, or not with a chat completion.
        """
        return self.complete(request_body(self.model, prompt, most_tokens=most_tokens, temperature=temperature))

    def complete(self, body: bytes) -> Completion:
        """Send a request that is written already; see `ask`."""
        try:
            answer = read_completion(self._client.post(body))
        except TimedOut as late:
            raise EndpointError(f"{self.url}: {late.reason}.") from None
        except TooLarge as refusal:
            raise TextRefused(refusal.reason) from None
        except RequestRefused as refusal:
            if str(refusal).startswith(_OF_ONE_TEXT):
                raise TextRefused(str(refusal)) from None
            said = str(refusal).removeprefix("status ")
            raise RequestRefused(f"{self.url}: refuses with {said}.{self._client.key_hint(refusal)}") from None
        except EndpointError as error:
            raise type(error)(f"{self.url}: {error}.") from None
        self._client.settled = True
        return answer

    def ask_all(
        self, prompts: Sequence[str], *, most_tokens: int | None = None, temperature: float = 0.0
    ) -> Iterator[tuple[int, Completion | TextRefused]]:
        """Ask many questions, some at a time.

        Yields:
            (position, answer), in order; the answer may be a refusal of this one text. All that was answered comes
            before what ends everything is raised.

        Raises:
            RequestRefused: the endpoint answers nobody with this key, or has no such model.
            EndpointError: it does not answer in time, or not with chat completions.
        """
        stopped, failures = Event(), list[EndpointError]()

        def ask_one(prompt: str) -> Completion | TextRefused | None:
            if stopped.is_set():
                return None
            try:
                return self.ask(prompt, most_tokens=most_tokens, temperature=temperature)
            except TextRefused as refusal:
                return refusal
            except EndpointError as error:
                stopped.set()
                failures.append(error)
                return None

        with ThreadPoolExecutor(self._in_flight, "chat") as pool:
            try:
                for position, answer in enumerate(pool.map(ask_one, prompts)):
                    if answer is not None:
                        yield position, answer
            finally:
                stopped.set()  # who takes no more answers sends no more questions
        if failures:
            raise failures[0]


def request_body(model: str, prompt: str, *, most_tokens: int | None = None, temperature: float = 0.0) -> bytes:
    """Write a request; half surrogate pairs, which JSON cannot hold, are replaced."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt.encode("utf-8", "replace").decode()}],
        "temperature": temperature,
    }
    if most_tokens is not None:
        body["max_tokens"] = most_tokens
    return orjson.dumps(body)


def read_completion(response: httpx.Response) -> Completion:
    """Read a successful answer.

    Raises:
        EndpointError: it is no chat completion.
    """
    try:
        answer = _json(response.content)
        choice = answer["choices"][0]
        said, cut = str(choice["message"]["content"] or ""), choice.get("finish_reason") == "length"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        shown = " ".join(response.text.split())[:120]
        raise EndpointError(f"its answer is no chat completion: {shown!r}") from None
    usage = answer.get("usage") or {}
    prompt, completion = (value if isinstance(value := usage.get(name), int) else 0 for name in _USAGE)
    said = said.encode("utf-8", "replace").decode()  # half a surrogate pair is no character
    return Completion(_THOUGHTS.sub("", said).strip(), prompt, completion, cut)


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(content)  # takes half surrogate pairs


_USAGE = ("prompt_tokens", "completion_tokens")
HIGHEST_GRADE = 10
_NUMBER = re.compile(r"(?<![\w.-])\d+(?:[.,]\d+)?(?![\w.]*\w)(?!\s*%)")


def read_grade(said: str) -> float:
    """Read a grade from 0 to 10 as a share of 1; NaN where the answer is no grade."""
    found = _NUMBER.search(said)
    grade = float(found[0].replace(",", ".")) if found else float("nan")
    return grade / HIGHEST_GRADE if 0 <= grade <= HIGHEST_GRADE else float("nan")


def first_line(text: str) -> str:
    """Take the first line that says something, without bullets, numbers of a list and quotation marks around it."""
    lines = (_LISTED.sub("", line).strip(" \t\"'*-“”„«»") for line in text.splitlines())
    return next((line for line in lines if line), "")


def fill_in(template: str, **texts: str) -> str:
    """Put texts in the places of a template (`{name}`), once: places that a text itself holds stay as they are."""
    return _PLACE.sub(lambda place: texts.get(place[1], place[0]), template)


def places_of(template: str) -> set[str]:
    """Names of a template's places."""
    return set(_PLACE.findall(template))
