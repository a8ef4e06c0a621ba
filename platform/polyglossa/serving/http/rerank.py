"""Reranking as Cohere, Jina and Text Embeddings Inference have it, by a cross-encoder of the family."""

import asyncio
import uuid

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

from polyglossa.serving.errors import ApiError
from polyglossa.serving.family import Family
from polyglossa.serving.http.auth import Keyring, check_member
from polyglossa.serving.http.requests import ERRORS, body_schema, check_items, raw_json, read_body, trace_of
from polyglossa.serving.http.schema import RerankRequest, TeiRerankRequest, parse
from polyglossa.serving.settings import Limits


def add_rerank_routes(api: FastAPI, family: Family, limits: Limits, keyring: Keyring) -> None:
    """Add `/v1/rerank`, `/v2/rerank` and `/rerank`; without a reranker they say so (404)."""

    @api.post("/v2/rerank", openapi_extra=body_schema(RerankRequest), responses=ERRORS)
    @api.post("/v1/rerank", openapi_extra=body_schema(RerankRequest), responses=ERRORS)
    async def rerank(request: Request) -> Response:
        """Order documents by a query (the API of Cohere and Jina)."""
        key = keyring.admit(request.headers.get("authorization"))
        _check_offered(family)
        wanted = parse(RerankRequest, await read_body(request, limits), request.headers.get("content-type"))
        texts = [one if isinstance(one, str) else one.text for one in wanted.documents]
        name, score_N = await _scores(request, wanted.model, wanted.query, texts, key)
        order = np.argsort(-score_N, kind="stable")[: wanted.top_n]
        results = [
            {"index": int(row), "relevance_score": float(_share(score_N[row]))}
            | ({"document": {"text": texts[row]}} if wanted.return_documents else {})
            for row in order
        ]
        return raw_json(orjson.dumps({"id": str(uuid.uuid4()), "model": name, "results": results, "meta": {}}))

    @api.post("/rerank", openapi_extra=body_schema(TeiRerankRequest), responses=ERRORS)
    async def rerank_texts(request: Request) -> Response:
        """Order texts by a query (the API of Text Embeddings Inference)."""
        key = keyring.admit(request.headers.get("authorization"))
        _check_offered(family)
        wanted = parse(TeiRerankRequest, await read_body(request, limits), request.headers.get("content-type"))
        _, score_N = await _scores(request, wanted.model, wanted.query, wanted.texts_, key)
        told_N = score_N if wanted.raw_scores else _share(score_N)
        results = [
            {"index": int(row), "score": float(told_N[row])}
            | ({"text": wanted.texts_[row]} if wanted.return_text else {})
            for row in np.argsort(-score_N, kind="stable")
        ]
        return raw_json(orjson.dumps(results))

    async def _scores(
        request: Request, model: str | None, query: str, texts: list[str], key: object
    ) -> tuple[str, np.ndarray]:
        name = family.find_reranker(model)
        check_member(key, name)  # type: ignore[arg-type]
        trace_of(request).note(name, len(texts), key)
        check_items(len(texts), limits)
        try:
            async with asyncio.timeout(limits.request_seconds):
                score_N = await family.rerankers[name](query, texts)
        except TimeoutError:
            raise ApiError(503, "timeout", "The answer took too long. Try again later.", retry_after=5) from None
        if not np.isfinite(score_N).all():
            raise ApiError(424, "backend_failed", "The reranker could not score one of the texts.")
        return name, score_N


def _check_offered(family: Family) -> None:
    """Refuse where there is no reranker: a model that embeds cannot read two texts together.

    Raises:
        Problem: 404.
    """
    if not family.rerankers:
        message = "Reranking is not offered: this family embeds. Compare vectors instead (`/similarity`)."
        raise ApiError(404, "rerank_not_offered", message)


def _share(score_N: np.ndarray) -> np.ndarray:
    """The logistic function: a score between 0 and 1, as those APIs have it."""
    return np.asarray(1 / (1 + np.exp(-np.clip(score_N.astype(np.float64), -60, 60))))
