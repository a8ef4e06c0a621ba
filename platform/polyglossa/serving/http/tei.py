"""The routes of Text Embeddings Inference, so that its clients need no change; `model` names another member."""

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

from polyglossa.serving.batching.tokens import Keep
from polyglossa.serving.errors import ApiError
from polyglossa.serving.family import Family, Served
from polyglossa.serving.http.auth import Keyring
from polyglossa.serving.http.formats import matrix
from polyglossa.serving.http.requests import (
    ERRORS,
    admit,
    body_schema,
    check_items,
    check_width,
    raw_json,
    trace_of,
)
from polyglossa.serving.http.schema import EmbedRequest, SimilarityParameters, SimilarityRequest
from polyglossa.serving.settings import Limits
from polyglossa.vectors import finish


def add_tei_routes(api: FastAPI, family: Family, limits: Limits, keyring: Keyring) -> None:
    """Add `/embed` and `/similarity`."""

    @api.post("/embed", openapi_extra=body_schema(EmbedRequest), responses=ERRORS)
    async def embed(request: Request) -> Response:
        """Embed texts (the API of Text Embeddings Inference)."""
        wanted, served, key = await admit(EmbedRequest, request, family, limits, keyring)
        width = check_width(wanted, served)
        texts = [wanted.inputs] if isinstance(wanted.inputs, str) else wanted.inputs
        state_ND = await _states(request, served, texts, wanted, limits, key)
        return raw_json(await matrix(finish(state_ND, width, normalise=wanted.normalize)))

    @api.post("/similarity", openapi_extra=body_schema(SimilarityRequest), responses=ERRORS)
    async def similarity(request: Request) -> Response:
        """Compare a text with others by cosine (the API of Text Embeddings Inference)."""
        wanted, served, key = await admit(SimilarityRequest, request, family, limits, keyring)
        texts = [wanted.inputs.source_sentence, *wanted.inputs.sentences]
        vector_ND = finish(await _states(request, served, texts, wanted.parameters, limits, key))
        return raw_json(orjson.dumps(vector_ND[1:] @ vector_ND[0], option=orjson.OPT_SERIALIZE_NUMPY))


async def _states(
    request: Request,
    served: Served,
    texts: list[str],
    wanted: EmbedRequest | SimilarityParameters,
    limits: Limits,
    key: object,
) -> np.ndarray:
    check_items(len(texts), limits)
    trace = trace_of(request)
    trace.note(served.name, len(texts), key)
    if wanted.prompt_name is not None and wanted.prompt_name not in served.card.prompts:
        known = ", ".join(served.card.prompts) or "none"
        raise ApiError(422, "invalid_field", f"prompt_name: {served.name} has {known}.", param="prompt_name")
    prompt = served.card.prompts.get(wanted.prompt_name or served.card.default_prompt or "", "")
    keep: Keep = "all" if not wanted.truncate else "start" if wanted.truncation_direction == "right" else "end"
    state_ND, tokens_N = await served.batcher.states_of_texts([prompt + text for text in texts], keep)
    trace.tokens = int(tokens_N.sum())
    return state_ND
