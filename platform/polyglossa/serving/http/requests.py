"""Read, check and answer requests in bytes: what all routes share."""

from typing import TypeVar

import numpy as np
import orjson
from fastapi import Request, Response

from polyglossa.serving.errors import ApiError
from polyglossa.serving.family import Family, Served
from polyglossa.serving.http.auth import Key, Keyring, check_member
from polyglossa.serving.http.middleware import Trace
from polyglossa.serving.http.schema import (
    CohereEmbedRequest,
    EmbeddingRequest,
    EmbedRequest,
    ErrorBody,
    Input,
    SearchRequest,
    SimilarityRequest,
    Strict,
    parse,
)
from polyglossa.serving.settings import Limits

ERRORS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 415, 422, 424, 429, 503)
}
"""What the OpenAPI document says of refusals."""


Asked = TypeVar("Asked", EmbeddingRequest, EmbedRequest, CohereEmbedRequest, SimilarityRequest, SearchRequest)


async def admit(
    kind: type[Asked], request: Request, family: Family, limits: Limits, keyring: Keyring
) -> tuple[Asked, Served, Key | None]:
    """Check the key, read the body, and find the member that it names.

    Returns:
        What is asked for, the member, and the key, where one is needed.

    Raises:
        ApiError: one of the three is refused.
    """
    key = keyring.admit(request.headers.get("authorization"))
    wanted = parse(kind, await read_body(request, limits), request.headers.get("content-type"))
    served = family.find(wanted.model)
    check_member(key, served.name)
    return wanted, served, key


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read a body up to the limit.

    Raises:
        ApiError: 413, it is larger; 415, it is compressed.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ApiError(415, "compressed_body", "Compressed bodies are not read here. Send the body as it is.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limits.request_bytes:
            raise ApiError(413, "request_too_large", f"The body is larger than {limits.request_bytes} bytes.")
    return bytes(body)


def check_items(items: int, limits: Limits) -> None:
    """Refuse a request of too many texts.

    Raises:
        ApiError: 413.
    """
    if items > limits.request_items:
        message = f"{items} texts are more than the {limits.request_items} of one request."
        raise ApiError(413, "too_many_items", message, param="input")


def check_width(wanted: EmbeddingRequest | EmbedRequest | SearchRequest, served: Served) -> int | None:
    """Return the width asked for.

    Raises:
        ApiError: 422, the member is not that wide, or the bits do not fill bytes.
    """
    width = wanted.dimensions
    if width is not None and width > served.card.width:
        message = f"dimensions: {width} is wider than the {served.card.width} of {served.name}."
        raise ApiError(422, "invalid_field", message, param="dimensions")
    if isinstance(wanted, EmbeddingRequest) and wanted.output_dtype == "binary" and (width or served.card.width) % 8:
        message = f"dimensions: {width or served.card.width} bits do not fill bytes; take a multiple of 8."
        raise ApiError(422, "invalid_field", message, param="dimensions")
    return width


def check_ids(ids: list[list[int]], given: Input, served: Served) -> None:
    """Refuse a token id that the member's vocabulary does not hold.

    Raises:
        ApiError: 422.
    """
    largest = served.card.vocabulary - 1
    for index, part in enumerate(ids):
        if max(part) > largest:
            at = next(at for at, one in enumerate(part) if one > largest)
            place = f"[{index}][{at}]" if isinstance(given, list) and isinstance(given[0], list) else f"[{at}]"
            message = f"input{place}: is {part[at]}; token ids of {served.name} lie within 0 … {largest}."
            raise ApiError(422, "invalid_field", message, param="input")


def split_input(raw: Input) -> tuple[list[str], list[list[int]]]:
    """Tell texts from token ids; one of the two lists is empty."""
    if isinstance(raw, str):
        return [raw], []
    texts = [item for item in raw if isinstance(item, str)]
    ids = [item for item in raw if isinstance(item, list)]
    return texts, ids if texts or ids else [[item for item in raw if isinstance(item, int)]]


def trace_of(request: Request) -> Trace:
    """Return where handlers tell what a request asked for."""
    return request.scope["polyglossa.trace"]


def raw_json(body: bytes) -> Response:
    """Answer with JSON that is written already."""
    return Response(body, media_type="application/json")


def raw_values(vector_NV: np.ndarray, dtype: str, model: str, tokens: int) -> Response:
    """Answer with the values alone, row by row, little-endian; what JSON would say beside them is in headers."""
    about = {
        "x-embedding-count": str(vector_NV.shape[0]),
        "x-embedding-width": str(vector_NV.shape[1]),
        "x-embedding-dtype": dtype,
        "x-model": model,
        "x-total-tokens": str(tokens),
    }
    return Response(vector_NV.tobytes(), headers=about, media_type="application/octet-stream")


def body_schema(model: type[Strict]) -> dict[str, object]:
    """Describe a body in the OpenAPI document; the route reads it itself."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    text = orjson.dumps(schema).decode()
    for name, definition in definitions.items():  # inlined: OpenAPI keeps shared schemas elsewhere than JSON Schema
        text = text.replace(f'"$ref":"#/$defs/{name}"', orjson.dumps(definition).decode()[1:-1])
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": orjson.loads(text)}}}}
