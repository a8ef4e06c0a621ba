"""The embed routes of Cohere's API, so that its clients need no change."""

import uuid
from collections.abc import Sequence

import orjson
from fastapi import FastAPI, Request, Response

from polyglossa.serving.batching.tokens import Keep
from polyglossa.serving.errors import ApiError
from polyglossa.serving.family import Family, Served
from polyglossa.serving.http.auth import Keyring
from polyglossa.serving.http.formats import cohere_rows
from polyglossa.serving.http.requests import (
    ERRORS,
    admit,
    body_schema,
    check_items,
    raw_json,
    trace_of,
)
from polyglossa.serving.http.schema import CohereEmbedRequest
from polyglossa.serving.settings import Limits
from polyglossa.vectors import finish

_KEEP: dict[str, Keep] = {"end": "start", "start": "end", "error": "all"}
_PROMPTS = {"search_query": "query", "search_document": "document"}


def add_cohere_routes(api: FastAPI, family: Family, limits: Limits, keyring: Keyring) -> None:
    """Add `/v2/embed` and `/v1/embed`."""

    @api.post("/v2/embed", openapi_extra=body_schema(CohereEmbedRequest), responses=ERRORS)
    async def embed(request: Request) -> Response:
        """Embed texts (Cohere's API, version 2)."""
        return await _answer(request, version=2)

    @api.post("/v1/embed", openapi_extra=body_schema(CohereEmbedRequest), responses=ERRORS)
    async def embed_as_before(request: Request) -> Response:
        """Embed texts (Cohere's API, version 1: numbers alone where no types are asked for)."""
        return await _answer(request, version=1)

    async def _answer(request: Request, version: int) -> Response:
        wanted, served, key = await admit(CohereEmbedRequest, request, family, limits, keyring)
        kinds = wanted.embedding_types or ["float"]
        _check_width(wanted.output_dimension, kinds, served)
        trace = trace_of(request)
        trace.note(served.name, len(wanted.wanted), key)
        check_items(len(wanted.wanted), limits)
        named = _PROMPTS.get(wanted.input_type or "", served.card.default_prompt or "")
        prompt = served.card.prompts.get(named, "")
        state_ND, tokens_N = await served.batcher.states_of_texts(
            [prompt + text for text in wanted.wanted], _KEEP[wanted.truncate]
        )
        trace.tokens = total = int(tokens_N.sum())
        vector_ND = finish(state_ND, wanted.output_dimension)
        by_type = {kind: cohere_rows(vector_ND, kind) for kind in dict.fromkeys(kinds)}
        plain = version == 1 and wanted.embedding_types is None
        body = {
            "id": str(uuid.uuid4()),
            "embeddings": by_type["float"] if plain else by_type,
            "texts": wanted.wanted,
            "response_type": "embeddings_floats" if plain else "embeddings_by_type",
            "meta": {"api_version": {"version": str(version)}, "billed_units": {"input_tokens": total}},
        }
        return raw_json(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))


def _check_width(width: int | None, kinds: Sequence[str], served: Served) -> None:
    """Refuse a width that the member does not have, or bits that do not fill bytes.

    Raises:
        Problem: 422.
    """
    if width is not None and width > served.card.width:
        message = f"output_dimension: {width} is wider than the {served.card.width} of {served.name}."
        raise ApiError(422, "invalid_field", message, param="output_dimension")
    if {"binary", "ubinary"} & set(kinds) and (width or served.card.width) % 8:
        message = f"output_dimension: {width or served.card.width} bits do not fill bytes; take a multiple of 8."
        raise ApiError(422, "invalid_field", message, param="output_dimension")
