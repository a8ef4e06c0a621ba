"""Bodies of requests. Unknown fields are refused, so a misspelt one is never silently ignored."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.problems import Problem

TokenIds = Annotated[list[int], Field(min_length=1)]
Input = Annotated[
    str | Annotated[list[str], Field(min_length=1)] | TokenIds | Annotated[list[TokenIds], Field(min_length=1)],
    Field(union_mode="left_to_right"),
]
Truncate = Literal["end", "start", "error"]
Body = TypeVar("Body", bound="Strict")


class Strict(BaseModel):
    """A body that takes only the fields it names, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class EmbeddingRequest(Strict):
    """`POST /v1/embeddings`: OpenAI's fields, and three more."""

    input: Input
    """A text, texts, token ids, or lists of token ids."""
    model: str
    """Name or alias of a member."""
    dimensions: int | None = Field(None, ge=1)
    """Width of the vectors: the first so many coordinates, normalised again; null is the full width."""
    encoding_format: Literal["float", "base64"] = "float"
    """JSON numbers, or base64 of little-endian values."""
    user: str | None = None
    """Accepted as in OpenAI's API, and not used."""
    input_type: Literal["query", "document"] | None = None
    """Puts the model's own prompt of that name before each text; null leaves texts as they are."""
    instruction: str | None = None
    """Task instruction put before each text, instead of the model's prompt."""
    truncate: Truncate = "end"
    """What goes when a text is too long: its end, its start, or the request (413)."""


def parse(model: type[Body], body: bytes) -> Body:
    """Read a request body.

    Raises:
        Problem: 400 where it is not JSON, 422 where a field is missing, unknown or wrong.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _problem(error.errors(include_url=False, include_context=False)) from None


def _problem(details: list[Any]) -> Problem:
    first = details[0]
    if first["type"] == "json_invalid":
        return Problem(400, "malformed_json", f"The body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}.")
    field = str(first["loc"][0]) if first["loc"] else None
    if first["type"] == "extra_forbidden":
        return Problem(422, "unknown_field", f"{field}: no such field is known here.", param=field)
    if first["type"] == "missing":
        return Problem(422, "missing_field", f"{field}: is missing.", param=field)
    return Problem(422, "invalid_field", f"{field or 'body'}: {first['msg']}.", param=field)
