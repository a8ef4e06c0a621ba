"""The HTTP interface as a FastAPI application over a family of members. It knows nothing of Ray.

Handlers read and write bodies themselves: FastAPI routes and documents, `serve.schema` checks what clients of many
servers send, and vectors are written as bytes, because that path is what a short text's request costs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException

from polyglossa import __version__
from polyglossa.model.instructions import instruction_prompt
from polyglossa.serving.batching.tokens import Keep
from polyglossa.serving.errors import ApiError
from polyglossa.serving.family import Family, Served
from polyglossa.serving.http.auth import Keyring
from polyglossa.serving.http.cohere import add_cohere_routes
from polyglossa.serving.http.formats import embedding_list
from polyglossa.serving.http.info_routes import add_info_routes
from polyglossa.serving.http.middleware import Middleware
from polyglossa.serving.http.requests import (
    ERRORS,
    admit,
    body_schema,
    check_ids,
    check_items,
    check_width,
    raw_json,
    raw_values,
    split_input,
    trace_of,
)
from polyglossa.serving.http.rerank import add_rerank_routes
from polyglossa.serving.http.routing import Routing
from polyglossa.serving.http.schema import EmbeddingRequest
from polyglossa.serving.http.search import add_search_routes
from polyglossa.serving.http.tei import add_tei_routes
from polyglossa.serving.metrics import Metrics
from polyglossa.serving.settings import AppSettings, Limits
from polyglossa.vectors import OUTPUT_DTYPES, finish

_KEEP: dict[str, Keep] = {"end": "start", "start": "end", "error": "all"}
_PROMPT_OF = {"query": "query", "passage": "document"}


def make_api(family: Family, settings: AppSettings, metrics: Metrics) -> FastAPI:
    """Build the application. Its lifespan starts and closes the family."""

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        await family.start()
        yield
        await family.close()

    api = FastAPI(title="Polyglossa", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    keyring = Keyring(settings.keys_file)
    _refusals(api)
    _add_embeddings(api, family, settings.limits, keyring)
    add_rerank_routes(api, family, settings.limits, keyring)
    add_cohere_routes(api, family, settings.limits, keyring)
    add_tei_routes(api, family, settings.limits, keyring)
    add_search_routes(api, family, settings.limits, keyring)
    add_info_routes(api, family, metrics, keyring)
    if settings.cors_origins:
        api.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    api.add_middleware(Routing)
    api.add_middleware(Middleware, metrics=metrics, write_log=settings.access_log)
    return api


def _refusals(api: FastAPI) -> None:
    @api.exception_handler(ApiError)
    async def _problem(_request: Request, problem: ApiError) -> Response:
        return problem.response()

    @api.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        response = ApiError(error.status_code, code, f"{error.detail}.").response()
        response.headers.update(error.headers or {})
        return response

    @api.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, _error: RequestValidationError) -> Response:
        return ApiError(422, "invalid_field", "The request's parameters are not valid.").response()

    @api.exception_handler(Exception)
    async def _failed(_request: Request, _error: Exception) -> Response:
        return ApiError(500, "internal_error", "Something failed here. The server's log tells what.").response()


def _add_embeddings(api: FastAPI, family: Family, limits: Limits, keyring: Keyring) -> None:
    @api.post("/v1/embeddings", openapi_extra=body_schema(EmbeddingRequest), responses=ERRORS)
    async def embeddings(request: Request) -> Response:
        """Embed texts (OpenAI's embeddings API)."""
        wanted, served, key = await admit(EmbeddingRequest, request, family, limits, keyring)
        width = check_width(wanted, served)
        texts, ids = split_input(wanted.input)
        trace_of(request).note(served.name, max(len(texts), len(ids)), key)
        check_items(max(len(texts), len(ids)), limits)
        keep, batcher = _KEEP[wanted.truncate], served.batcher_of(_split_task(wanted)[0])
        if texts:
            prompt = _prompt(served, wanted)
            state_ND, tokens_N = await batcher.states_of_texts([prompt + text for text in texts], keep)
        else:
            check_ids(ids, wanted.input, served)
            arrays = [served.tokens.fit(np.array(part, np.int32), keep) for part in ids]
            state_ND, tokens_N = await batcher.states_of_tokens(arrays)
        trace_of(request).tokens = total = int(tokens_N.sum())
        vector_NV = OUTPUT_DTYPES[wanted.output_dtype](finish(state_ND, width))
        if wanted.encoding_format == "bytes":
            return raw_values(vector_NV, wanted.output_dtype, served.name, total)
        return raw_json(await embedding_list(vector_NV, wanted.encoding_format, served.name, total))


def _prompt(served: Served, wanted: EmbeddingRequest) -> str:
    if wanted.instruction is not None:
        return instruction_prompt(wanted.instruction)
    asked = wanted.input_type or _split_task(wanted)[1]
    return served.card.prompts.get(asked or served.card.default_prompt or "", "")


def _split_task(wanted: EmbeddingRequest) -> tuple[str | None, str | None]:
    """Tell a task from the prompt that it names, as in `retrieval.query` (Jina's names)."""
    task, mark, kind = (wanted.task or "").rpartition(".")
    if mark and kind in _PROMPT_OF:
        return task, _PROMPT_OF[kind]
    return wanted.task, None
