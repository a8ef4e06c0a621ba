"""Errors in the shape of OpenAI's API: `{"error": {message, type, param, code}}`.

No stack trace, path or text of a request ever goes out; what happened inside is in the server's log.
"""

import orjson
from fastapi import Response


class ApiError(Exception):
    """Something that ends a request with a status other than 2xx.

    Args:
        status: HTTP status.
        code: stable word for programs.
        message: sentence for people: what was got, what is allowed, what to do.
        param: field of the request that is to blame.
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message
        self.param, self.retry_after = param, retry_after

    @property
    def type(self) -> str:
        """The family of the error, OpenAI's names where it has them."""
        return _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    def body(self) -> dict[str, object]:
        """The JSON body; what is no character in a field's name is written as its escape."""
        param = self.param and _writable(self.param)
        return {"error": {"message": _writable(self.message), "type": self.type, "param": param, "code": self.code}}

    def response(self) -> Response:
        """The HTTP answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(orjson.dumps(self.body()), self.status, headers, "application/json")


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    424: "backend_error",
    429: "rate_limit_error",
    503: "service_unavailable",
}
