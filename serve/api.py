"""The HTTP interface as a FastAPI application over a family of members. It knows nothing of Ray.

Handlers read and write bodies themselves: FastAPI routes and documents, pydantic checks straight from the bytes, and
vectors are written as bytes, because that path is what a short text's request costs.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from polyglossa import __version__
from polyglossa.vectors import finish
from serve.family import Family, Served
from serve.formats import convert, embedding_list, matrix
from serve.keys import Keyring, check_member
from serve.metrics import Metrics
from serve.problems import Problem
from serve.schema import (
    EmbeddingRequest,
    EmbedRequest,
    ErrorBody,
    Input,
    SimilarityParameters,
    SimilarityRequest,
    Strict,
    parse,
)
from serve.settings import AppSettings, Limits
from serve.tokens import Keep
from serve.watch import Trace, Watch

_ERRORS: dict[int | str, dict[str, object]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 422, 424, 429, 503)
}
_PAGE = Path(__file__).with_name("page.html")


def make_api(family: Family, settings: AppSettings, metrics: Metrics) -> FastAPI:
    """Build the application. Its lifespan starts and closes the family."""

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        family.start()
        yield
        await family.close()

    api = FastAPI(title="Polyglossa", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    keyring = Keyring(settings.keys_file)
    _refusals(api)
    _vectors(api, family, settings.limits, keyring)
    _facts(api, family, metrics, keyring)
    if settings.cors_origins:
        api.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    api.add_middleware(Watch, metrics=metrics, write_log=settings.access_log)
    return api


def _refusals(api: FastAPI) -> None:
    @api.exception_handler(Problem)
    async def _problem(_request: Request, problem: Problem) -> Response:
        return problem.response()

    @api.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        response = Problem(error.status_code, code, f"{error.detail}.").response()
        response.headers.update(error.headers or {})
        return response

    @api.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, _error: RequestValidationError) -> Response:
        return Problem(422, "invalid_field", "The request's parameters are not valid.").response()

    @api.exception_handler(Exception)
    async def _failed(_request: Request, _error: Exception) -> Response:
        return Problem(500, "internal_error", "Something failed here. The server's log tells what.").response()


def _vectors(api: FastAPI, family: Family, limits: Limits, keyring: Keyring) -> None:
    @api.post("/v1/embeddings", openapi_extra=_body(EmbeddingRequest), responses=_ERRORS)
    async def embeddings(request: Request) -> Response:
        """Embed texts (OpenAI's embeddings API)."""
        key = keyring.admit(request.headers.get("authorization"))
        wanted = parse(EmbeddingRequest, await read_body(request, limits))
        served = family.find(wanted.model)
        check_member(key, served.name)
        width = check_width(wanted, served)
        texts, ids = _split(wanted.input)
        _trace(request).note(served.name, max(len(texts), len(ids)), key)
        check_items(max(len(texts), len(ids)), limits)
        keep: Keep = {"end": "start", "start": "end", "error": "all"}[wanted.truncate]  # type: ignore[assignment]
        if texts:
            prompt = _prompt(served, wanted)
            state_ND, tokens_N = await served.courier.states_of_texts([prompt + text for text in texts], keep)
        else:
            state_ND, tokens_N = await served.courier.states_of_tokens([_token_ids(served, part, keep) for part in ids])
        _trace(request).tokens = total = int(tokens_N.sum())
        vector_NV = convert(finish(state_ND, width), wanted.output_dtype)
        return _raw(await embedding_list(vector_NV, wanted.encoding_format, served.name, total))

    @api.post("/embed", openapi_extra=_body(EmbedRequest), responses=_ERRORS)
    async def embed(request: Request) -> Response:
        """Embed texts (the API of Text Embeddings Inference)."""
        key = keyring.admit(request.headers.get("authorization"))
        wanted = parse(EmbedRequest, await read_body(request, limits))
        served = family.find(wanted.model)
        check_member(key, served.name)
        width = check_width(wanted, served)
        texts = [wanted.inputs] if isinstance(wanted.inputs, str) else wanted.inputs
        state_ND = await _tei_states(request, served, texts, wanted, limits, key)
        return _raw(await matrix(finish(state_ND, width, normalise=wanted.normalize)))

    @api.post("/similarity", openapi_extra=_body(SimilarityRequest), responses=_ERRORS)
    async def similarity(request: Request) -> Response:
        """Compare a text with others by cosine (the API of Text Embeddings Inference)."""
        key = keyring.admit(request.headers.get("authorization"))
        wanted = parse(SimilarityRequest, await read_body(request, limits))
        served = family.find(wanted.model)
        check_member(key, served.name)
        texts = [wanted.inputs.source_sentence, *wanted.inputs.sentences]
        vector_ND = finish(await _tei_states(request, served, texts, wanted.parameters, limits, key))
        return _raw(orjson.dumps(vector_ND[1:] @ vector_ND[0], option=orjson.OPT_SERIALIZE_NUMPY))

    @api.post("/v1/rerank", responses=_ERRORS)
    @api.post("/rerank", include_in_schema=False)
    async def rerank() -> Response:
        """Refuse: these models make vectors; a reranker reads query and document together."""
        message = "Reranking is not offered: this family embeds. Compare vectors instead (`/similarity`)."
        raise Problem(404, "rerank_not_offered", message)


def _facts(api: FastAPI, family: Family, metrics: Metrics, keyring: Keyring) -> None:
    started = int(time.time())

    @api.get("/v1/models", responses=_ERRORS)
    async def models(request: Request) -> Response:
        """List members and aliases."""
        keyring.admit(request.headers.get("authorization"))
        data = [family.describe(name) | {"created": started} for name in family.names]
        return _raw(orjson.dumps({"object": "list", "data": data}))

    @api.get("/v1/models/{name:path}", responses=_ERRORS)
    async def model(request: Request, name: str) -> Response:
        """Describe one member or alias."""
        keyring.admit(request.headers.get("authorization"))
        return _raw(orjson.dumps(family.describe(name) | {"created": started}))

    @api.get("/health")
    async def health() -> Response:
        """Tell that the endpoint runs."""
        return PlainTextResponse("ok")

    @api.get("/ready", responses={503: {"model": ErrorBody}})
    async def ready() -> Response:
        """Tell whether every member answers."""
        waiting = [name for name, served in family.members.items() if not served.courier.ready]
        if waiting:
            raise Problem(503, "starting", f"Still starting: {', '.join(waiting)}.", retry_after=2)
        seconds = {name: served.courier.start_seconds for name, served in family.members.items()}
        return _raw(orjson.dumps({"ready": True, "replica_start_seconds": seconds}))

    @api.get("/metrics")
    async def prometheus() -> Response:
        """Figures of this ingress replica, for Prometheus."""
        return PlainTextResponse(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @api.get("/", include_in_schema=False)
    async def page() -> Response:
        """A page to try cross-lingual search."""
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
        return HTMLResponse(_PAGE.read_bytes(), headers={"Content-Security-Policy": policy})


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read a body up to the limit.

    Raises:
        Problem: 413, it is larger.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limits.request_bytes:
            raise Problem(413, "request_too_large", f"The body is larger than {limits.request_bytes} bytes.")
    return bytes(body)


def check_items(items: int, limits: Limits) -> None:
    """Refuse a request of too many texts.

    Raises:
        Problem: 413.
    """
    if items > limits.request_items:
        message = f"{items} texts are more than the {limits.request_items} of one request."
        raise Problem(413, "too_many_items", message, param="input")


def check_width(wanted: EmbeddingRequest | EmbedRequest, served: Served) -> int | None:
    """Return the width asked for.

    Raises:
        Problem: 422, the member is not that wide, or the bits do not fill bytes.
    """
    width = wanted.dimensions
    if width is not None and width > served.card.width:
        message = f"dimensions: {width} is wider than the {served.card.width} of {served.name}."
        raise Problem(422, "invalid_field", message, param="dimensions")
    if isinstance(wanted, EmbeddingRequest) and wanted.output_dtype == "binary" and (width or served.card.width) % 8:
        message = f"dimensions: {width or served.card.width} bits do not fill bytes; take a multiple of 8."
        raise Problem(422, "invalid_field", message, param="dimensions")
    return width


async def _tei_states(
    request: Request,
    served: Served,
    texts: list[str],
    wanted: EmbedRequest | SimilarityParameters,
    limits: Limits,
    key: object,
) -> np.ndarray:
    check_items(len(texts), limits)
    trace = _trace(request)
    trace.note(served.name, len(texts), key)
    if wanted.prompt_name is not None and wanted.prompt_name not in served.card.prompts:
        known = ", ".join(served.card.prompts) or "none"
        raise Problem(422, "invalid_field", f"prompt_name: {served.name} has {known}.", param="prompt_name")
    prompt = served.card.prompts[wanted.prompt_name] if wanted.prompt_name else ""
    keep: Keep = "all" if not wanted.truncate else "start" if wanted.truncation_direction == "Right" else "end"
    state_ND, tokens_N = await served.courier.states_of_texts([prompt + text for text in texts], keep)
    trace.tokens = int(tokens_N.sum())
    return state_ND


def _split(raw: Input) -> tuple[list[str], list[list[int]]]:
    """Tell texts from token ids; one of the two lists is empty."""
    if isinstance(raw, str):
        return [raw], []
    texts = [item for item in raw if isinstance(item, str)]
    ids = [item for item in raw if isinstance(item, list)]
    return texts, ids if texts or ids else [[item for item in raw if isinstance(item, int)]]


def _prompt(served: Served, wanted: EmbeddingRequest) -> str:
    if wanted.instruction:
        return f"Instruct: {wanted.instruction}\nQuery: "
    return served.card.prompts.get(wanted.input_type or "", "")


def _token_ids(served: Served, ids: list[int], keep: Keep) -> np.ndarray:
    array = np.array(ids, np.int32)
    if array.max() >= served.card.vocabulary:
        message = f"input: token ids of {served.name} lie within 0 … {served.card.vocabulary - 1}."
        raise Problem(422, "invalid_field", message, param="input")
    return served.tokens.fit(array, keep)


def _trace(request: Request) -> Trace:
    return request.scope["polyglossa.trace"]


def _raw(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _body(model: type[Strict]) -> dict[str, object]:
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    text = orjson.dumps(schema).decode()
    for name, definition in definitions.items():  # inlined: OpenAPI keeps shared schemas elsewhere than JSON Schema
        text = text.replace(f'"$ref":"#/$defs/{name}"', orjson.dumps(definition).decode()[1:-1])
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": orjson.loads(text)}}}}
