"""What the client of an endpoint tells itself: when to wait, when to ask for less, when asking otherwise is no use."""

from polyglossa.errors import EndpointError


class GivenUp(EndpointError):
    """The endpoint was busy, silent or not there for longer than a call waits; asking otherwise would not help."""


class Busy(EndpointError):
    """The endpoint may answer the same request later.

    Args:
        reason: what came instead of an answer.
        retry_after: seconds that the endpoint asks to wait.
        lasting: whether it looks like a mistake rather than load: nobody there, or a crash.
    """

    def __init__(self, reason: str, retry_after: float = 0.0, lasting: bool = False) -> None:
        super().__init__(reason, retry_after, lasting)
        self.reason, self.retry_after, self.lasting = reason, retry_after, lasting


class TooLarge(EndpointError):
    """The endpoint may answer the same texts in smaller requests.

    Args:
        reason: what the endpoint said.
        counts: whether it speaks of the number of texts; otherwise of bytes or tokens.
    """

    def __init__(self, reason: str, counts: bool) -> None:
        super().__init__(reason, counts)
        self.reason, self.counts = reason, counts


class TimedOut(TooLarge):
    """The endpoint took too long over a request; it may be quick enough with fewer texts."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, True)

    def __reduce__(self) -> tuple[type["TimedOut"], tuple[str]]:
        """Pickle by the one argument that it takes."""
        return type(self), (self.reason,)


class TextRefused(EndpointError):
    """The endpoint will not answer this one text; others it may."""
