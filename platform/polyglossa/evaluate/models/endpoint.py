"""An OpenAI-compatible endpoint as a model: the same evaluation of what a server answers."""

from collections.abc import Mapping
from typing import Any

from polyglossa.endpoint import EndpointClient


class EndpointSource(EndpointClient):
    """Embeds over HTTP; what it gives are vectors already."""

    finished = True
    similarity = "cosine"
    parameters: int | None = None
    max_tokens: int | None = None
    widths: tuple[int, ...] = ()

    def __init__(self, url: str, model: str, *, prompts: Mapping[str, str] | None = None, **options: Any) -> None:
        """Reach the endpoint.

        Args:
            url: base URL, `/v1` included.
            model: name that the endpoint knows.
            prompts: prefix by mteb's names; the endpoint is sent finished texts.
            options: of `EndpointClient`.
        """
        super().__init__(url, model, **options)
        self.prompts = dict(prompts or {})
