"""Read what an embeddings endpoint answers, refusing whatever would put a wrong vector beside a text.

N = texts of the request, D = width.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson

from polyglossa.endpoint.errors import Busy, TooLarge
from polyglossa.errors import EndpointError, RequestRefused

Floats = npt.NDArray[np.float32]

_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
# How servers say it: TEI "batch size 64 > maximum allowed batch size 32", vLLM and OpenAI "maximum context length",
# OpenAI "Requested 400000 tokens, max 300000 tokens per request", pydantic "should have at most 32 items", nginx "413",
# llama.cpp with status 500 "input is too large to process. increase the physical batch size".
_SIZE = re.compile(
    r"batch|too (?:large|long|many|big)|at most|exceed|larger|longer|more than|max(?:imum)?\b|max_|limit", re.I
)
_COUNT = re.compile(r"batch|\bitems\b|\binputs\b|\btexts\b|\barray\b|\blist\b", re.I)
_TOO_LARGE = re.compile(r"too (?:large|long)", re.I)
_NEVER = re.compile(r"insufficient_quota|billing_hard_limit", re.I)


def check_status(response: httpx.Response) -> None:
    """Sort answers that hold no vectors.

    Raises:
        Busy: the same request may pass later.
        TooLarge: the same texts may pass in smaller requests.
        RequestRefused: neither.
    """
    if response.is_success:
        return
    said = " ".join(response.text.split())
    status, reason = response.status_code, f"status {response.status_code}: {said[:300]}"
    sizes = {400: _SIZE, 422: _SIZE, 500: _TOO_LARGE}.get(status)
    if status == 413 or (sizes and sizes.search(said)):
        raise TooLarge(reason, bool(_COUNT.search(said)))
    if status in _BUSY and not _NEVER.search(said):
        raise Busy(reason, retry_after(response.headers), lasting=status == 500)
    raise RequestRefused(reason)


def retry_after(headers: httpx.Headers) -> float:
    """Read how many seconds a server asks to wait: `Retry-After-Ms`, or `Retry-After` in seconds or as a date."""
    try:
        if "retry-after-ms" in headers:
            return max(float(headers["retry-after-ms"]) / 1000, 0.0)
        asked = headers.get("retry-after", "0")
        if asked.strip().replace(".", "", 1).isdigit():
            return float(asked)
        return max((parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):  # not a time at all, or a date without its zone
        return 0.0


def read_vectors(response: httpx.Response, texts: int) -> Floats:
    """Read the vectors of a successful answer, [N, D], in the order of the texts.

    Args:
        response: the answer.
        texts: how many texts were sent.

    Raises:
        EndpointError: it is no list of vectors, an index is missing, doubled or strange, or widths differ.
    """
    rows = _rows(response)
    if len(rows) != texts:
        raise EndpointError(f"answered {len(rows)} vectors to {texts} texts")
    places = [row.get("index") for row in rows]
    _check_places(places)
    vectors = [_vector(row.get("embedding")) for row in rows]
    widths = sorted({len(vector_D) for vector_D in vectors})
    if len(widths) != 1 or widths[0] == 0:
        raise EndpointError(f"answered vectors of the widths {', '.join(map(str, widths))} to one request")
    return np.stack([vectors[row] for row in np.argsort(np.array(places))])


def _rows(response: httpx.Response) -> list[dict[str, Any]]:
    try:
        answer = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        try:
            answer = json.loads(response.content)  # takes NaN, which is then refused by the text's position
        except ValueError:
            said = " ".join(response.text.split())[:80]
            raise EndpointError(
                f"answered something that is not JSON: {said!r}; is this the address of an API?"
            ) from None
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        said = orjson.dumps(answer).decode()[:120] if not isinstance(answer, float) else str(answer)
        raise EndpointError(f"answered without a list `data` of objects: {said}")
    return rows


def _check_places(places: Sequence[Any]) -> None:
    strange = next((place for place in places if not isinstance(place, int) or isinstance(place, bool)), None)
    if strange is not None or None in places:
        raise EndpointError("answered vectors without a whole number `index`; which text is which cannot be told")
    if sorted(places) != list(range(len(places))):
        twice = sorted({place for place in places if places.count(place) > 1})
        holes = sorted(set(range(len(places))) - set(places))
        said = [
            f"{label} {', '.join(map(str, found[:5]))}"
            for label, found in (("twice", twice), ("never", holes))
            if found
        ]
        raise EndpointError(f"answered {len(places)} vectors with the index {'; '.join(said)}")


def _vector(embedding: Any) -> Floats:
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float32)
        return np.asarray(embedding, np.float32).reshape(len(embedding))
    except (binascii.Error, ValueError, TypeError, OverflowError):
        raise EndpointError("answered an `embedding` that is neither numbers nor base64 of float32") from None
