"""A member that another server computes: its token ids go there, and vectors come back.

The other server must read token ids by the member's tokenizer (ours, vLLM, Text Embeddings Inference do). Its key comes
from a variable of this process; keys of our clients never leave it.
"""

from collections.abc import Sequence
from typing import Any

from polyglossa.endpoint.client import EndpointClient
from polyglossa.engines.spec import EngineSpec
from polyglossa.errors import DataError, UserError
from polyglossa.model.directory import describe_directory
from polyglossa.vectors import Floats


class UpstreamEngine:
    """An OpenAI-compatible endpoint."""

    def __init__(self, client: EndpointClient, about: dict[str, Any]) -> None:
        self._client, self.about = client, about

    @property
    def width(self) -> int:
        """Width of a vector."""
        return self._client.width

    def states(self, token_ids: Sequence[Sequence[int]], task: str | None = None) -> Floats:
        """Return vectors [N, S], float32, as the other server gives them; it has no tasks."""
        return self._client.embed([list(one) for one in token_ids])

    def slots(self, lengths: Sequence[int]) -> int:
        """Count the tokens; what the other server pads is not known."""
        return sum(lengths)


def open_upstream(path: str, spec: EngineSpec) -> UpstreamEngine:
    """Reach the other server, and check that it gives vectors of the member's width.

    Args:
        path: local directory with the member's configuration and tokenizer; its weights are not read.
        spec: the engine, with `upstream`.

    Raises:
        EndpointError: nothing answers there.
        DataError: its vectors are of another width.
    """
    upstream = spec.upstream
    if upstream is None:
        raise UserError("engine: endpoint: give upstream, with url and model.")
    client = EndpointClient(
        upstream.url,
        upstream.model,
        key_variable=upstream.key_variable,
        timeout_seconds=upstream.timeout_seconds,
        patience_seconds=upstream.timeout_seconds,
        in_flight=max(4, spec.calls),
    )
    description, _ = describe_directory(path)
    if client.width != description.width:
        raise DataError(
            f"{upstream.url}: {upstream.model} answers vectors {client.width} wide, and the member is "
            f"{description.width} wide. Another model stands behind it."
        )
    return UpstreamEngine(client, {"name": "endpoint", "model": upstream.model})
