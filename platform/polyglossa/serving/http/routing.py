"""Routes as clients ask for them: HEAD wherever there is GET, slashes at the end, slashes twice."""

import re
from typing import Any


def clean_path(path: str) -> str:
    """Return a path without doubled slashes or one at its end: base URLs are given with a slash and without."""
    return re.sub("/{2,}", "/", path).rstrip("/") or "/"


class Routing:
    """ASGI middleware that finds the route."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Run one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = clean_path(scope["path"])
        found = {**scope, "path": path}
        if path != scope["path"] and scope.get("raw_path"):
            found["raw_path"] = clean_path(scope["raw_path"].decode("latin-1")).encode("latin-1")
        if scope["method"] != "HEAD":
            await self._app(found, receive, send)
            return

        async def without_body(message: Any) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**found, "method": "GET"}, receive, without_body)
