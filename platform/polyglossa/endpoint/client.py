"""Ask an OpenAI-compatible endpoint for vectors.

Retries are ours (tenacity over httpx), not the `openai` package's: that one retries a number of times with up to eight
seconds between, while a rate-limited endpoint wants minutes, a bound in time, and smaller requests where they are too
large; its answers also hide whether base64 came back, and indices.

client = EndpointClient("http://host:8000/v1", "small", key_variable="MY_KEY")
client.embed(["query: a text"])       # texts as they are sent: prompts are the caller's work
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import cached_property, partial
from threading import Event

import httpx
import numpy as np
import orjson
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from polyglossa.endpoint.answer import Floats, check_status, read_vectors
from polyglossa.endpoint.batching import RequestLimits
from polyglossa.endpoint.errors import Busy, GivenUp, TimedOut, TooLarge
from polyglossa.endpoint.panel import SHORT, Panel, ask_panel, fingerprint_of
from polyglossa.errors import EndpointError, RequestRefused, UserError
from polyglossa.recipe.outside import check_address

# A mistyped address, a field that crashes the server, or one that was waited for in vain already: no load to wait for.
_IMPATIENCE_SECONDS = 5.0
_FORMATS = ("base64", "float", None)


class EndpointClient:
    """One model behind one endpoint."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str | None = None,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 300.0,
        in_flight: int = 4,
        most_texts: int = 256,
        most_bytes: int = 1 << 20,
        root: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Embed a few short texts, to learn the endpoint's format and width.

        Args:
            url: base URL, `/v1` included.
            model: name that the endpoint knows.
            key_variable: environment variable that holds the key, sent as a bearer token; None sends none.
            timeout_seconds: of one request.
            patience_seconds: longest time that one request is tried again while the endpoint is busy.
            in_flight: requests under way at a time.
            most_texts: texts of one request; less is found out where the endpoint takes less.
            most_bytes: bytes of the texts of one request; likewise.
            root: storage root that keeps the panels of endpoints known so far (see `endpoint.panel`).
            transport: how requests travel; tests pass their own.
            sleep: how pauses pass; tests pass their own.

        Raises:
            UserError: the address is none, or holds a secret.
            EndpointError: nothing answers there, or not with vectors.
        """
        self._url, self.model, self._root = embeddings_url(url), model, root
        self._key_variable, key = key_variable, os.environ.get(key_variable or "")
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        self._client = httpx.Client(
            headers=headers,
            timeout=timeout_seconds,
            transport=transport,
            follow_redirects=True,
            limits=httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight),
        )
        self._timeout_seconds, self._patience_seconds, self._in_flight = timeout_seconds, patience_seconds, in_flight
        self._limits = RequestLimits(most_texts, most_bytes)
        self._sleep, self._reached, self._gave_up = sleep, False, False
        self._format: str | None = None
        self.width = 0
        """Width of the vectors."""
        self._settle_format()

    def embed(self, texts: Sequence[str | list[int]]) -> Floats:
        """Embed texts as they are, or token ids, which a server of the same tokenizer takes.

        Returns:
            [N, D], as the endpoint gives them.

        Raises:
            EndpointError: it does not answer in time, or answers wrongly: a doubled index, another width, NaN.
            RequestRefused: it refuses the key, the model or a text, which is named by its position.
        """
        pieces = [_json(position, text) for position, text in enumerate(texts)]
        sizes = [len(piece) for piece in pieces]
        spans = list(self._limits.cut(sizes, 0, len(sizes)))
        if not spans:
            return np.empty((0, self.width), np.float32)
        failed = Event()

        def embed_span(span: tuple[int, int]) -> Floats:
            if failed.is_set():
                raise CancelledError  # nobody sees it: the failure before it in the order is raised
            try:
                return self._embed_span(pieces, sizes, *span)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(min(self._in_flight, len(spans)), "endpoint") as pool:
            return np.concatenate(list(pool.map(embed_span, spans)))

    @cached_property
    def fingerprint(self) -> str:
        """Name all that shapes a vector here besides the text: the model's name and the endpoint's answers to a panel.

        It does not hold the address, so a model that moves keeps it; small noise in the answers does not change it.
        """
        return fingerprint_of(self._first_panel, self.model, self._root)

    @cached_property
    def _first_panel(self) -> Panel:
        return self.panel()

    def panel(self) -> Panel:
        """Ask the panel."""
        return ask_panel(self.embed)

    def confirm(self) -> None:
        """Ask the panel again: what was embedded since the fingerprint was taken is that model's only if it agrees.

        Raises:
            EndpointError: the endpoint answers otherwise than it did, as after a restart with other settings.
        """
        if not self._first_panel.agrees(self.panel()):
            raise EndpointError(
                f"{self._url}: {self.model!r} answers otherwise than when its fingerprint was taken (restarted with "
                "other settings?). What it embedded last was not kept; start again to go on with what it is now."
            )

    def _embed_span(self, pieces: Sequence[bytes], sizes: Sequence[int], start: int, stop: int) -> Floats:
        """Embed a run of texts, in smaller requests where the endpoint wants them."""
        parts = []
        for begin, end in self._limits.cut(sizes, start, stop):
            try:
                parts.append(self._ask(pieces, begin, end))
            except TooLarge as refusal:
                if end - begin == 1:
                    raise self._alone(begin, refusal) from None
                self._limits.shrink(end - begin, sum(sizes[begin:end]), counts=refusal.counts)
                parts.append(self._embed_span(pieces, sizes, begin, end))
        return np.concatenate(parts)

    def _ask(self, pieces: Sequence[bytes], begin: int, end: int) -> Floats:
        where = f"text {begin}" if end - begin == 1 else f"texts {begin} to {end - 1}"
        try:
            vector_ND = read_vectors(self._post(self._body(pieces[begin:end])), end - begin)
        except TooLarge:
            raise
        except RequestRefused as refusal:
            raise RequestRefused(f"{self._url}: {refusal} ({where}).{self._key_hint(refusal)}") from None
        except EndpointError as error:
            raise type(error)(f"{self._url}: {error} ({where}).") from None
        if self.width and vector_ND.shape[1] != self.width:
            raise EndpointError(
                f"{self._url}: answered vectors of width {vector_ND.shape[1]} ({where}) after vectors of width "
                f"{self.width}; another model may have taken its place. Nothing of this call is kept."
            )
        wrong = np.flatnonzero(~np.isfinite(vector_ND).all(axis=1))
        if wrong.size:
            raise EndpointError(f"{self._url}: the vector of text {begin + wrong[0]} is not finite (NaN or infinity).")
        return vector_ND

    def _alone(self, position: int, refusal: TooLarge) -> EndpointError:
        if isinstance(refusal, TimedOut):
            return GivenUp(f"{self._url}: {refusal.reason} (text {position}).")
        return RequestRefused(f"{self._url}: text {position} is refused even alone: {refusal.reason}.")

    def _settle_format(self) -> None:
        """Find out how vectors travel: base64 where the endpoint has it and means the same by it, else numbers.

        Servers differ: some do not know the field, some refuse base64, some send numbers whatever is asked.

        Raises:
            EndpointError: of the first format, where none works.
        """
        failures = []
        for self._format in _FORMATS:
            try:
                vector_ND = self.embed(SHORT)
                if self._format == "base64" and not self._means_numbers(vector_ND):
                    continue
            except GivenUp:
                raise
            except EndpointError as failure:
                failures.append(failure)
            else:
                self.width = vector_ND.shape[1]
                return
        raise failures[0]

    def _means_numbers(self, vector_ND: Floats) -> bool:
        """Whether base64 holds what numbers say: some servers encode other types than float32."""
        self._format = "float"
        try:
            number_D = self.embed(SHORT[:1])[0]
        except RequestRefused:
            return True
        finally:
            self._format = "base64"
        near = 0.05 * float(np.abs(number_D).max())
        return len(number_D) == vector_ND.shape[1] and np.allclose(number_D, vector_ND[0], rtol=0, atol=near)

    def _body(self, pieces: Sequence[bytes]) -> bytes:
        asked = b"" if self._format is None else b',"encoding_format":"%b"' % self._format.encode()
        return b'{"model":%b,"input":[%b]%b}' % (orjson.dumps(self.model), b",".join(pieces), asked)

    def _post(self, body: bytes) -> httpx.Response:
        """Send a request until it is answered, its refusal is final, or patience ends."""
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

    def _send(self, body: bytes) -> httpx.Response:
        """Send a request once.

        Before anything has answered at all, silence is the end; afterwards it may be that the request was too large.
        """
        try:
            response = self._client.post(self._url, content=body)
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
        vain = self._gave_up or (isinstance(busy, Busy) and busy.lasting and not self.width)
        patience = min(self._patience_seconds, _IMPATIENCE_SECONDS) if vain else self._patience_seconds
        return max(state.seconds_since_start or 0.0, state.idle_for) + state.upcoming_sleep > patience

    def _key_hint(self, refusal: RequestRefused) -> str:
        if not str(refusal).startswith(("status 401", "status 403")):
            return ""
        if self._key_variable is None:
            return " No key was sent."
        state = "is set" if os.environ.get(self._key_variable) else "is not set in this process"
        return f" The key is read from the environment variable {self._key_variable}, which {state}."


_backoff = wait_exponential_jitter(initial=0.5, max=30.0, jitter=0.5)


def _pause(state: RetryCallState) -> float:
    """Wait twice as long each time, with jitter, and never less than the endpoint asks for."""
    assert state.outcome is not None
    busy = state.outcome.exception()
    return _backoff(state) + (busy.retry_after if isinstance(busy, Busy) else 0.0)


def _json(position: int, text: str | list[int]) -> bytes:
    try:
        return orjson.dumps(text)
    except (orjson.JSONEncodeError, TypeError):
        raise UserError(
            f"text {position} holds half of a surrogate pair, which is no character and cannot be sent as JSON."
        ) from None


def embeddings_url(url: str) -> httpx.URL:
    """Check a base URL and append the route; what it holds is written into manifests, so it must hold no secret.

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
    return parsed.copy_with(path=parsed.path.rstrip("/") + "/embeddings")
