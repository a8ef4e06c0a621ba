"""Routes that tell about the endpoint: its models, whether it is ready, its figures, and the try-it page."""

import time

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from polyglossa.serving.errors import ApiError
from polyglossa.serving.family import Family
from polyglossa.serving.http.auth import Keyring
from polyglossa.serving.http.requests import ERRORS, raw_json
from polyglossa.serving.http.schema import ErrorBody
from polyglossa.serving.metrics import Metrics
from polyglossa.serving.page.render import render_try_it

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


def add_info_routes(api: FastAPI, family: Family, metrics: Metrics, keyring: Keyring) -> None:
    """Add `/v1/models`, `/health`, `/ready`, `/metrics` and `/`."""
    started, page_html = int(time.time()), render_try_it()

    @api.get("/v1/models", responses=ERRORS)
    async def models(request: Request) -> Response:
        """List members and aliases."""
        keyring.admit(request.headers.get("authorization"))
        data = [family.describe(name) | {"created": started} for name in family.names]
        return raw_json(orjson.dumps({"object": "list", "data": data}))

    @api.get("/v1/models/{name:path}", responses=ERRORS)
    async def model(request: Request, name: str) -> Response:
        """Describe one member or alias."""
        keyring.admit(request.headers.get("authorization"))
        return raw_json(orjson.dumps(family.describe(name) | {"created": started}))

    @api.get("/health")
    async def health() -> Response:
        """Tell that the endpoint runs."""
        return PlainTextResponse("ok")

    @api.get("/ready", responses={503: {"model": ErrorBody}})
    async def ready() -> Response:
        """Tell whether every member answers."""
        waiting = [name for name, served in family.members.items() if not served.batcher.ready]
        if waiting:
            raise ApiError(503, "starting", f"Still starting: {', '.join(waiting)}.", retry_after=2)
        seconds = {name: served.batcher.start_seconds for name, served in family.members.items()}
        return raw_json(orjson.dumps({"ready": True, "replica_start_seconds": seconds}))

    @api.get("/metrics")
    async def prometheus() -> Response:
        """Figures of this ingress replica, for Prometheus."""
        return PlainTextResponse(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @api.get("/", include_in_schema=False)
    async def page() -> Response:
        """A page to try cross-lingual search."""
        return HTMLResponse(page_html, headers={"Content-Security-Policy": _POLICY})
