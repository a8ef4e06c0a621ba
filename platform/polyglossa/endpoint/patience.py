"""Send requests to an endpoint until they are answered, refused for good, or patience ends. One model, one route.

Retries are ours (tenacity over httpx), not the `openai` package's: that one retries a number of times with up to eight
seconds between, while a rate-limited endpoint wants minutes, and a bound in time.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from polyglossa.endpoint.answer import check_status
from polyglossa.endpoint.errors import Busy, GivenUp, TimedOut
from polyglossa.errors import EndpointError, UserError
from polyglossa.recipe.outside import OutsideModel, check_address

# A mistyped address, a field that crashes the server, or one that was waited for in vain already: no load to wait for.
_IMPATIENCE_SECONDS = 5.0


class PatientClient:
    """Posts bodies to one address; safe to use from several threads."""

    def __init__(
        self,
        url: httpx.URL,
        *,
        key_variable: str | None = None,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 300.0,
        in_flight: int = 4,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Read the key; nothing is sent yet.

        Args:
            url: the whole address.
            key_variable: environment variable that holds the key, sent as a bearer token; None sends none.
            timeout_seconds: of one request.
            patience_seconds: longest time that one request is tried again while the endpoint is busy.
            in_flight: requests under way at a time.
            transport: how requests travel; tests pass their own.
            sleep: how pauses pass; tests pass their own.
        """
        self.url = url
        self.settled = False
        """Whether it has answered such a request: until then a crash is a mistake to find out, not load."""
        self._key_variable, key = key_variable, os.environ.get(key_variable or "")
        self._client = httpx.Client(
            headers={"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})},
            timeout=timeout_seconds,
            transport=transport,
            follow_redirects=True,
            limits=httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight),
        )
        self._timeout_seconds, self._patience_seconds = timeout_seconds, patience_seconds
        self._sleep, self._reached, self._gave_up = sleep, False, False

    def post(self, body: bytes) -> httpx.Response:
        """Send a request until it is answered, its refusal is final, or patience ends.

        Raises:
            TooLarge: the endpoint may answer less at once.
            RequestRefused: it will not answer this.
            EndpointError: it did not answer.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(Busy), wait=_pause, stop=self._patience_ends, sleep=self._sleep, reraise=True
        )
        began = time.monotonic()
        try:
            return retrying(partial(self._send, body))
        except Busy as busy:
            tries = retrying.statistics["attempt_number"]
            asked = f"; it asks to wait {busy.retry_after:.0f} s more" if busy.retry_after else ""
            self._gave_up = True
            given_up = EndpointError if self._reached and busy.lasting else GivenUp
            raise given_up(f"{busy.reason}, asked {tries} times in {time.monotonic() - began:.0f} s{asked}") from None

    def key_hint(self, refusal: EndpointError) -> str:
        """Say where the key comes from, where the refusal is of a key."""
        if not str(refusal).startswith(("status 401", "status 403")):
            return ""
        if self._key_variable is None:
            return " No key was sent."
        state = "is set" if os.environ.get(self._key_variable) else "is not set in this process"
        return f" The key is read from the environment variable {self._key_variable}, which {state}."

    def _send(self, body: bytes) -> httpx.Response:
        """Send a request once.

        Before anything has answered at all, silence is the end; afterwards it may be that the request was too large.
        """
        try:
            response = self._client.post(self.url, content=body)
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            reason = f"no answer within {self._timeout_seconds:g} s"
            raise (TimedOut if self._reached else GivenUp)(reason) from None
        except httpx.TransportError as error:
            raise Busy(f"{type(error).__name__} {error}".strip(), lasting=not self._reached) from None
        except httpx.RequestError as error:
            raise EndpointError(f"{type(error).__name__} {error}") from None
        self._reached = True
        check_status(response)
        self._gave_up = False
        return response

    def _patience_ends(self, state: RetryCallState) -> bool:
        assert state.outcome is not None
        busy = state.outcome.exception()
        vain = self._gave_up or (isinstance(busy, Busy) and busy.lasting and not self.settled)
        patience = min(self._patience_seconds, _IMPATIENCE_SECONDS) if vain else self._patience_seconds
        return max(state.seconds_since_start or 0.0, state.idle_for) + state.upcoming_sleep > patience


_backoff = wait_exponential_jitter(initial=0.5, max=30.0, jitter=0.5)


def _pause(state: RetryCallState) -> float:
    """Wait twice as long each time, with jitter, and never less than the endpoint asks for."""
    assert state.outcome is not None
    busy = state.outcome.exception()
    return _backoff(state) + (busy.retry_after if isinstance(busy, Busy) else 0.0)


def reach_of(model: OutsideModel) -> dict[str, Any]:
    """How a recipe has an endpoint asked, as the clients' arguments: key, times, requests under way."""
    return {
        "key_variable": model.key_variable,
        "timeout_seconds": model.timeout_seconds,
        "patience_seconds": model.patience_seconds,
        "in_flight": model.requests_in_flight,
    }


def route_of(url: str, route: str) -> httpx.URL:
    """Check a base URL and append a route; what it holds is written into manifests, so it must hold no secret.

    Raises:
        UserError: it is no address, or holds a user's name or a key.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UserError(f"{url}: is no address ({error}); write http://host:port/v1.") from None
    try:
        check_address(url)
    except ValueError as error:
        raise UserError(str(error)) from None
    return parsed.copy_with(path=f"{parsed.path.rstrip('/')}/{route}")
