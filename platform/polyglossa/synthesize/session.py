"""What Ray's HTTP processor takes for an HTTP session: our client of chat endpoints, with its patience and its key.

`ray.data.llm` posts requests and reads JSON; on its own it waits by a fixed back-off, takes a refusal for an answer,
ends a run with the first row that fails, and wants the key in its configuration, which is logged and pickled. Here a
request is sent by `endpoint.chat`: what one text is refused for stays with that row, what ends everything is told once,
answers that came are kept, and the key is read on the worker from the variable that the recipe names.
"""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from threading import Event
from typing import Any, Self

from polyglossa.endpoint.chat import ChatClient
from polyglossa.endpoint.errors import TextRefused
from polyglossa.errors import EndpointError
from polyglossa.recipe.sections.outside.synthetic import Writer

SAID, REFUSED, FAILED, UNASKED = "said", "refused", "failed", "unasked"


@lru_cache(maxsize=4)
def _client_of(writer: Writer) -> ChatClient:
    return ChatClient.of(writer)


class ChatSession:
    """Requests of one batch, several under way at a time; after a failure that ends everything none is sent."""

    def __init__(self, writer: Writer, in_flight: int) -> None:
        self._client = _client_of(writer)
        self._pool = ThreadPoolExecutor(in_flight, "writer")
        self._stopped = Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=False)

    def post(self, url: str, *, headers: dict[str, str], data: str) -> "asyncio.Future[Answered]":
        """Send a request at once; awaiting it gives its answer."""
        sent: Future[Answered] = self._pool.submit(self._ask, data.encode())
        return asyncio.wrap_future(sent)

    def _ask(self, body: bytes) -> "Answered":
        if self._stopped.is_set():
            return Answered(outcome(UNASKED))
        try:
            answer = self._client.complete(body)
        except TextRefused as refusal:
            return Answered(outcome(REFUSED, str(refusal)))
        except EndpointError as error:
            self._stopped.set()
            return Answered(outcome(FAILED, str(error), exit_code=error.exit_code))
        tokens = answer.prompt_tokens + answer.completion_tokens
        return Answered(outcome(SAID, answer.text, cut=answer.cut, tokens=tokens))


def outcome(state: str, text: str = "", *, cut: bool = False, tokens: int = 0, exit_code: int = 0) -> dict[str, Any]:
    """Say what came of a request, without nulls: blocks of rows share their columns' types."""
    return {"state": state, "text": text, "cut": cut, "tokens": tokens, "exit_code": exit_code}


@dataclass(frozen=True)
class Answered:
    """What the processor takes for a response."""

    said: dict[str, Any]
    status: int = 200
    reason: str = "OK"

    async def json(self) -> dict[str, Any]:
        """Return what came of the request."""
        return dict(self.said)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hold nothing."""
