"""Ask an OpenAI-compatible endpoint for vectors.

Texts travel in as few requests as the endpoint takes; `patience` sends them. The `openai` package would hide whether
base64 came back, and indices.

client = EndpointClient("http://host:8000/v1", "small", key_variable="MY_KEY")
client.embed(["query: a text"])       # texts as they are sent: prompts are the caller's work
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import cached_property
from threading import Event

import httpx
import numpy as np
import orjson

from polyglossa.endpoint.answer import Floats, read_vectors
from polyglossa.endpoint.batching import RequestLimits
from polyglossa.endpoint.errors import GivenUp, TimedOut, TooLarge
from polyglossa.endpoint.panel import SHORT, Panel, ask_panel, fingerprint_of
from polyglossa.endpoint.patience import PatientClient, route_of
from polyglossa.errors import EndpointError, RequestRefused, UserError

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
        self._url, self.model, self._root = route_of(url, "embeddings"), model, root
        self._client = PatientClient(
            self._url,
            key_variable=key_variable,
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            in_flight=in_flight,
            transport=transport,
            sleep=sleep,
        )
        self._in_flight, self._limits = in_flight, RequestLimits(most_texts, most_bytes)
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
            vector_ND = read_vectors(self._client.post(self._body(pieces[begin:end])), end - begin)
        except TooLarge:
            raise
        except RequestRefused as refusal:
            raise RequestRefused(f"{self._url}: {refusal} ({where}).{self._client.key_hint(refusal)}") from None
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
                self.width, self._client.settled = vector_ND.shape[1], True
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


def _json(position: int, text: str | list[int]) -> bytes:
    try:
        return orjson.dumps(text)
    except (orjson.JSONEncodeError, TypeError):
        raise UserError(
            f"text {position} holds half of a surrogate pair, which is no character and cannot be sent as JSON."
        ) from None
