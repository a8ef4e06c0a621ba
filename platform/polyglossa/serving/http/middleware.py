"""Record every request: metrics and one line in the access log. Never a text, never a key."""

import asyncio
import logging
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

import orjson

from polyglossa.serving.http.auth import Key
from polyglossa.serving.http.routing import clean_path
from polyglossa.serving.metrics import Metrics

_log = logging.getLogger("polyglossa.access")
_KNOWN = {
    "/v1/embeddings",
    "/embed",
    "/v1/embed",
    "/v2/embed",
    "/similarity",
    "/v1/rerank",
    "/v1/search",
    "/v2/rerank",
    "/rerank",
    "/v1/models",
    "/health",
    "/ready",
    "/",
}


@dataclass
class Trace:
    """What handlers tell of a request."""

    model: str = ""
    items: int = 0
    tokens: int = 0
    key: str = ""

    def note(self, model: str, items: int, key: object) -> None:
        """Tell what is asked for and who asks."""
        self.model, self.items = model, items
        self.key = key.name if isinstance(key, Key) else ""


class Middleware:
    """ASGI middleware that times requests."""

    def __init__(self, app: Any, metrics: Metrics, write_log: bool) -> None:
        self._app, self._metrics, self._write_log = app, metrics, write_log
        if write_log and not _log.handlers:
            _log.addHandler(logging.StreamHandler(sys.stdout))
            _log.setLevel(logging.INFO)
            _log.propagate = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, trace, status = time.perf_counter(), Trace(), 499
        scope["polyglossa.trace"] = trace
        identity = uuid.uuid4().hex

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", identity.encode())]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            status = 499  # the client went away
            raise
        finally:
            self._record(scope, trace, status, time.perf_counter() - started, identity)

    def _record(self, scope: Any, trace: Trace, status: int, seconds: float, identity: str) -> None:
        path = clean_path(scope["path"])
        path = path if path in _KNOWN else "other"
        self._metrics.requests.labels(path, str(status), trace.model).inc()
        self._metrics.request_seconds.labels(path).observe(seconds)
        if trace.model:
            self._metrics.texts.labels(trace.model).inc(trace.items)
        if self._write_log:
            line = {
                "time": round(time.time(), 3),
                "id": identity,
                "method": scope["method"],
                "path": path,
                "status": status,
                "milliseconds": round(1000 * seconds, 2),
                "model": trace.model,
                "texts": trace.items,
                "tokens": trace.tokens,
                "key": trace.key,
            }
            _log.info(orjson.dumps(line).decode())
