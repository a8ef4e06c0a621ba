"""Bodies of requests. Unknown fields are refused, so a misspelt one is never silently ignored."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve.problems import Problem

TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], Field(min_length=1)]
Texts = Annotated[list[str], Field(min_length=1)]
Input = Annotated[
    str | Texts | TokenIds | Annotated[list[TokenIds], Field(min_length=1)], Field(union_mode="left_to_right")
]
Width = Annotated[int, Field(ge=1, le=1 << 20)]
Body = TypeVar("Body", bound="Strict")


class Strict(BaseModel):
    """A body that takes only the fields it names, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class EmbeddingRequest(Strict):
    """`POST /v1/embeddings`: OpenAI's fields, and four more."""

    input: Input
    """A text, texts, token ids, or lists of token ids."""
    model: str
    """Name or alias of a member."""
    dimensions: Width | None = None
    """Width of the vectors: the first so many coordinates, normalised again; null is the full width."""
    encoding_format: Literal["float", "base64"] = "float"
    """JSON numbers, or base64 of little-endian values."""
    user: str | None = None
    """Accepted as in OpenAI's API, and not used."""
    output_dtype: Literal["float32", "int8", "binary"] = "float32"
    """float32 of length 1; int8, scaled so that the largest coordinate is ±127; or sign bits, eight to a byte."""
    input_type: Literal["query", "document"] | None = None
    """Puts the model's own prompt of that name before each text; null leaves texts as they are."""
    instruction: str | None = None
    """Task instruction put before each text, instead of the model's prompt."""
    truncate: Literal["end", "start", "error"] = "end"
    """What goes when a text is too long: its end, its start, or the request (413)."""


class EmbedRequest(Strict):
    """`POST /embed`: the body of Text Embeddings Inference, and `model`."""

    inputs: Annotated[str | Texts, Field(union_mode="left_to_right")]
    """A text or texts."""
    model: str | None = None
    """Name or alias of a member; null is the first member."""
    normalize: bool = True
    """Whether vectors are scaled to length 1."""
    truncate: bool = False
    """Whether a too long text is cut; otherwise the request is refused (413)."""
    truncation_direction: Literal["Left", "Right"] = "Right"
    """Which end of a too long text goes."""
    prompt_name: str | None = None
    """Name of one of the model's prompts."""
    dimensions: Width | None = None
    """Width of the vectors."""


class SentencePair(Strict):
    """What `POST /similarity` compares."""

    source_sentence: str
    sentences: Texts


class SimilarityParameters(Strict):
    """How `POST /similarity` embeds."""

    truncate: bool = False
    truncation_direction: Literal["Left", "Right"] = "Right"
    prompt_name: str | None = None


class SimilarityRequest(Strict):
    """`POST /similarity`: the body of Text Embeddings Inference, and `model`."""

    inputs: SentencePair
    parameters: SimilarityParameters = SimilarityParameters()
    model: str | None = None
    """Name or alias of a member; null is the first member."""


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """Every answer with a status of 400 or more."""

    error: ErrorDetail


def parse(model: type[Body], body: bytes) -> Body:
    """Read a request body.

    Raises:
        Problem: 400 where it is not JSON, 422 where a field is missing, unknown or wrong.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _problem(error.errors(include_url=False, include_context=False, include_input=False)) from None


def _problem(details: list[Any]) -> Problem:
    first = details[0]
    if first["type"] == "json_invalid":
        return Problem(400, "malformed_json", f"The body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}.")
    field = str(first["loc"][0])[:80] if first["loc"] else None
    if first["type"] == "extra_forbidden":
        return Problem(422, "unknown_field", f"{field}: no such field is known here.", param=field)
    if first["type"] == "missing":
        return Problem(422, "missing_field", f"{field}: is missing.", param=field)
    return Problem(422, "invalid_field", f"{field or 'body'}: {first['msg']}.", param=field)
