"""An OpenAI-compatible endpoint as a model: the same evaluation of what a server answers."""

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence

import httpx
import numpy as np

from polyglossa.errors import PolyglossaError
from polyglossa.evaluate.states import Floats

_TRIES = 3
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class EndpointError(PolyglossaError):
    """The endpoint did not answer as it should."""


class EndpointSource:
    """Embeds over HTTP (`POST /embeddings`, base64 vectors)."""

    finished = True
    similarity = "cosine"

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        prompts: Mapping[str, str] | None = None,
        batch: int = 256,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Ask the endpoint for one vector, to learn its width.

        Args:
            url: base URL, `/v1` included.
            model: name that the endpoint knows.
            api_key: sent as a bearer token.
            timeout_seconds: of one request.
            prompts: prefix by mteb's names; the endpoint is sent finished texts.
            batch: texts per request.
            transport: how requests travel; tests pass their own.

        Raises:
            EndpointError: it does not answer.
        """
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(headers=headers, timeout=timeout_seconds, transport=transport)
        self._url, self._model, self._batch = url.rstrip("/") + "/embeddings", model, batch
        self.prompts = dict(prompts or {})
        self.parameters: int | None = None
        self.max_tokens: int | None = None
        self.widths: tuple[int, ...] = ()
        probe = self.embed(["width"])
        self.width = probe.shape[1]
        # What the server does with a text is not known here, so a stored vector must not outlive this answer.
        self.fingerprint = hashlib.blake2b(f"{url}/{model}".encode() + probe.tobytes(), digest_size=16).hexdigest()

    def embed(self, texts: Sequence[str]) -> Floats:
        """Embed rendered texts."""
        parts = [self._ask(texts[at : at + self._batch]) for at in range(0, len(texts), self._batch)]
        return np.concatenate(parts) if parts else np.empty((0, self.width), np.float32)

    def _ask(self, texts: Sequence[str]) -> Floats:
        body = {"model": self._model, "input": list(texts), "encoding_format": "base64"}
        answer = self._post(body)
        rows = sorted(answer["data"], key=lambda row: row["index"])
        if [row["index"] for row in rows] != list(range(len(texts))):
            raise EndpointError(f"{self._url}: answered {len(rows)} vectors to {len(texts)} texts.")
        return np.stack([_vector(row["embedding"]) for row in rows])

    def _post(self, body: Mapping[str, object]) -> dict:
        reason = ""
        for attempt in range(_TRIES):
            try:
                response = self._client.post(self._url, json=body)
            except httpx.TimeoutException:
                reason = f"no answer within {self._client.timeout.read:g} s"
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
            else:
                if response.is_success:
                    return dict(response.json())
                reason = f"status {response.status_code}: {' '.join(response.text.split())[:200]}"
                if response.status_code not in _TRY_AGAIN:
                    break
            time.sleep(0.2 * 2**attempt)
        raise EndpointError(f"{self._url}: {reason}.")


def _vector(embedding: str | list[float]) -> Floats:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), "<f4").astype(np.float32)
    return np.asarray(embedding, np.float32)
