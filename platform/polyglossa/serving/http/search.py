"""Search in the documents that the endpoint was started with."""

import asyncio
from dataclasses import asdict

import orjson
from fastapi import FastAPI, Request, Response

from polyglossa.serving.errors import ApiError
from polyglossa.serving.family import Family
from polyglossa.serving.http.auth import Keyring
from polyglossa.serving.http.requests import ERRORS, admit, body_schema, check_width, raw_json, trace_of
from polyglossa.serving.http.schema import SearchRequest
from polyglossa.serving.settings import Limits
from polyglossa.vectors import finish


def add_search_routes(api: FastAPI, family: Family, limits: Limits, keyring: Keyring) -> None:
    """Add `/v1/search`; without documents it says so (404)."""

    @api.post("/v1/search", openapi_extra=body_schema(SearchRequest), responses=ERRORS)
    async def search(request: Request) -> Response:
        """Find the documents nearest to a query."""
        wanted, served, key = await admit(SearchRequest, request, family, limits, keyring)
        documents = family.documents
        if documents is None or not documents.has(served.name):
            message = "There are no documents here to search. `polyglossa serve` has those of a recipe by `init`."
            raise ApiError(404, "search_not_offered", message)
        width = check_width(wanted, served)
        trace = trace_of(request)
        trace.note(served.name, 1, key)
        prompt = served.card.prompts.get("query", "")
        state_ND, tokens_N = await served.batcher.states_of_texts([prompt + wanted.query], "start")
        trace.tokens = total = int(tokens_N.sum())
        query_D = finish(state_ND, width)[0]
        found = await asyncio.to_thread(documents.search, served.name, query_D, wanted.limit)
        body = {
            "object": "list",
            "model": served.name,
            "documents": len(documents),
            "data": [asdict(one) for one in found],
            "usage": {"prompt_tokens": total, "total_tokens": total},
        }
        return raw_json(orjson.dumps(body))
