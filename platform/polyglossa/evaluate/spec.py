"""A model to judge, as plain values: it travels to workers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelSpec:
    """A directory or an endpoint, and how results call it."""

    name: str
    """How results call it, `owner/model`."""
    revision: str
    path: str | None = None
    """Local model directory."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible endpoint (`http://host:8000/v1`) that serves `name`'s last part."""
    instructed: bool = False
    """Whether its training gave queries instructions; pinned prompts say so too."""
    max_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of an endpoint: `api_key`, `timeout_seconds`, `prompts`, `batch`."""
