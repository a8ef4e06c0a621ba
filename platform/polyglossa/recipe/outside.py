"""Models from outside the recipe: named, in a directory, or behind an OpenAI-compatible endpoint."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from polyglossa.recipe.strict import Strict, is_absent

_SECRETS = ("key", "token", "secret", "sig", "password")
_OF_ENDPOINTS = ("key_variable", "timeout_seconds", "patience_seconds", "requests_in_flight", "texts_per_request")


def check_address(url: str) -> None:
    """Check an endpoint's base URL; what it holds is written into manifests, so it must hold no secret.

    Raises:
        ValueError: it is no address, or holds a user's name or a key.
    """
    try:
        parts = urlsplit(url)
        found = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
    except ValueError as error:
        raise ValueError(f"{url}: is no address ({error}); write http://host:port/v1.") from None
    if not found:
        raise ValueError(f"{url}: is no address of an endpoint; write http://host:port/v1.")
    names = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if "@" in parts.netloc or any(part in name for name in names for part in _SECRETS):
        raise ValueError(
            f"{parts.hostname}: the address holds a key; name the environment variable that holds it instead."
        )


class OutsideModel(Strict):
    """A model that no stage of the recipe makes. One that runs here must give sentence-transformers' vectors."""

    model: str = Field(min_length=1)
    """Hugging Face or sentence-transformers name, or directory; with `endpoint`, the name that the endpoint knows."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible endpoint (`http://host:8000/v1`); None runs the model here."""
    key_variable: str | None = None
    """Environment variable that holds the endpoint's key; None sends none."""
    timeout_seconds: float = Field(60.0, gt=0)
    """Longest wait for one answer of the endpoint."""
    patience_seconds: float = Field(300.0, ge=0)
    """Longest time that one request is tried again while the endpoint is busy (429, 503)."""
    requests_in_flight: int = Field(4, ge=1)
    """Requests of the endpoint under way at a time."""
    texts_per_request: int = Field(256, ge=1)
    """Most texts of one request; fewer are sent where the endpoint takes fewer."""

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None:
            check_address(value)
        return value

    @model_validator(mode="after")
    def _asks_an_endpoint(self) -> Self:
        defaults = {name: type(self).model_fields[name].default for name in _OF_ENDPOINTS}
        given = [name for name, default in defaults.items() if getattr(self, name) != default]
        if self.endpoint is None and given:
            raise ValueError(f"{given[0]}: is for an `endpoint`, and there is none")
        return self

    @property
    def label(self) -> str:
        """How reports and messages call it: the last part of its name."""
        return self.model.rstrip("/").rpartition("/")[2] or self.model


class OutsideTeacher(OutsideModel):
    """A teacher from outside: it reads texts in its own tokens and behind its own prompts."""

    prompts: Literal["model", "instruction", "none"] = "model"
    """What stands before a query: the model's own `query` prompt (and `document` prompt before documents), or the
    row's instruction as the family renders it, or nothing. An endpoint tells no prompts of its own."""
    query_prompt: str | None = None
    """Text put before every query, in place of what `prompts` gives."""
    document_prompt: str | None = None
    """Text put before every document, in place of what `prompts` gives."""
    max_tokens: int | None = Field(None, ge=8, exclude_if=is_absent)
    """Longest text (tokens) that a teacher without `endpoint` reads; None means the model's own limit."""

    @model_validator(mode="after")
    def _cuts_its_own_texts(self) -> Self:
        if self.endpoint is not None and self.max_tokens is not None:
            raise ValueError("max_tokens: an endpoint cuts texts itself; leave it out")
        return self


def _kind(value: Any) -> str:
    return "name" if isinstance(value, str) else "model"


ModelReference = Annotated[
    Annotated[str, Tag("name")] | Annotated[OutsideModel, Tag("model")],
    Discriminator(_kind),
]
"""A model of this recipe or from outside, by a name, or described."""


def is_own(reference: str | OutsideModel) -> bool:
    """Tell whether a reference names a model of the recipe, `<member>@<stage>`."""
    return isinstance(reference, str) and "@" in reference
