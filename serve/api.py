"""The HTTP interface as a FastAPI application over a family of members. It knows nothing of Ray."""

import time

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from polyglossa import __version__
from polyglossa.vectors import finish
from serve.family import Family, Served
from serve.formats import embedding_list
from serve.problems import Problem
from serve.schema import EmbeddingRequest, Input, Strict, parse
from serve.settings import Limits


def make_api(family: Family, limits: Limits) -> FastAPI:
    """Build the application."""
    api = FastAPI(title="Polyglossa", version=__version__, docs_url=None, redoc_url=None)
    started = int(time.time())

    @api.exception_handler(Problem)
    async def _refuse(_request: Request, problem: Problem) -> Response:
        return problem.response()

    @api.post("/v1/embeddings", openapi_extra=_body(EmbeddingRequest))
    async def embeddings(request: Request) -> Response:
        """Embed texts (OpenAI's embeddings API)."""
        wanted = parse(EmbeddingRequest, await read_body(request, limits))
        served = family.find(wanted.model)
        width = check_width(wanted.dimensions, served)
        state_ND, tokens_N = await embed(served, wanted, limits)
        vector_ND = finish(state_ND, width)
        body = await embedding_list(vector_ND, wanted.encoding_format, served.name, int(tokens_N.sum()))
        return Response(body, media_type="application/json")

    @api.get("/v1/models")
    async def models() -> Response:
        """List members and aliases."""
        return _json({"object": "list", "data": [_model(family, name, started) for name in _names(family)]})

    @api.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """Describe one member or alias."""
        family.find(name)
        return _json(_model(family, name, started))

    @api.get("/health")
    async def health() -> Response:
        """Tell that the endpoint runs."""
        return PlainTextResponse("ok")

    return api


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


def check_width(dimensions: int | None, served: Served) -> int | None:
    """Return the width asked for.

    Raises:
        Problem: 422, the member is not that wide.
    """
    if dimensions is not None and dimensions > served.card.width:
        message = f"dimensions: {dimensions} is wider than the {served.card.width} of {served.name}."
        raise Problem(422, "invalid_field", message, param="dimensions")
    return dimensions


async def embed(served: Served, wanted: EmbeddingRequest, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Get the raw states of a request's texts and their token counts."""
    texts, ids = _split(wanted.input)
    items = texts or ids
    if len(items) > limits.request_items:
        message = f"input: {len(items)} texts are more than the {limits.request_items} of one request."
        raise Problem(413, "too_many_items", message, param="input")
    keep = "end" if wanted.truncate == "start" else "start"
    if texts:
        prompt = _prompt(served, wanted)
        return await served.courier.states_of_texts([prompt + text for text in texts], keep=keep)
    return await served.courier.states_of_tokens([_token_ids(served, part, keep) for part in ids])


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


def _token_ids(served: Served, ids: list[int], keep: str) -> np.ndarray:
    array = np.array(ids, np.int64)
    if array.min() < 0 or array.max() >= served.card.vocabulary:
        message = f"input: token ids of {served.name} lie within 0 … {served.card.vocabulary - 1}."
        raise Problem(422, "invalid_field", message, param="input")
    return served.tokens.fit(array.astype(np.int32), keep=keep)


def _names(family: Family) -> list[str]:
    return [*family.members, *family.aliases]


def _model(family: Family, name: str, started: int) -> dict[str, object]:
    card = family.find(name).card
    return {
        "id": name,
        "object": "model",
        "created": started,
        "owned_by": "polyglossa",
        "width": card.width,
        "widths": card.widths,
        "max_tokens": card.max_tokens,
    }


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _body(model: type[Strict]) -> dict[str, object]:
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
