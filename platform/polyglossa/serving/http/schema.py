"""Bodies of requests, as clients of several servers send them.

Null is as if the field were absent, words are taken in any case, and fields of other servers' schemas are settled in
`serve.foreign_fields`. Everything else that is unknown or of another type is refused by name.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from polyglossa.serving.errors import ApiError
from polyglossa.serving.http.explain import explain_field, explain_texts
from polyglossa.serving.http.foreign_fields import (
    COHERE,
    OPENAI,
    RERANK,
    SEARCH,
    SIMILARITY,
    TEI,
    Foreign,
    settle_fields,
)
from polyglossa.serving.http.json_body import read_object


def _whole(text: str) -> str:
    """Refuse half of a surrogate pair: it is no character, and no tokenizer reads it."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PydanticCustomError("half_surrogate", "holds half of a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_whole)]
TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], Field(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1)]
Input = Annotated[
    Text | Texts | TokenIds | Annotated[list[TokenIds], Field(min_length=1)], Field(union_mode="left_to_right")
]
TextInput = Annotated[Text | Texts, Field(union_mode="left_to_right")]
Width = Annotated[int, Field(ge=1, le=1 << 20)]
Body = TypeVar("Body", bound="Strict")


def _words(**others: str) -> BeforeValidator:
    """Fold the case of a word, and read another server's word as ours."""

    def fold(given: Any) -> Any:
        word = given.lower() if isinstance(given, str) else given
        return others.get(str(word).lower(), word) if isinstance(given, str | bool) else word

    return BeforeValidator(fold)


_Truncate = Annotated[
    Literal["end", "start", "error"],
    _words(none="error", true="end", false="error", right="end", left="start"),
]
_InputType = Annotated[
    Literal["query", "document"], _words(search_query="query", search_document="document", passage="document")
]
_CohereInputType = Annotated[
    Literal["search_query", "search_document", "classification", "clustering"],
    _words(query="search_query", document="search_document"),
]
_CohereType = Annotated[Literal["float", "int8", "uint8", "binary", "ubinary", "base64"], _words()]
_Direction = Annotated[Literal["left", "right"], _words()]


class Strict(BaseModel):
    """A body that takes only the fields it names, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)
    foreign: ClassVar[Mapping[str, Foreign]] = {}
    """Fields of other servers that are settled instead of refused."""
    texts: ClassVar[Mapping[str, bool]] = {}
    """Paths of fields that hold texts, and whether they may hold token ids instead."""

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        fields = {field.alias or name: field for name, field in cls.model_fields.items()}
        present = {
            name: value
            for name, value in given.items()
            if value is not None or (name in fields and fields[name].is_required())
        }
        return settle_fields(present, fields, cls.foreign)


class EmbeddingRequest(Strict):
    """`POST /v1/embeddings`: OpenAI's fields, and five more."""

    foreign = OPENAI
    texts = {"input": True}

    input: Input
    """A text, texts, token ids, or lists of token ids."""
    model: Text
    """Name or alias of a member."""
    dimensions: Width | None = None
    """Width of the vectors: the first so many coordinates, normalised again; null is the full width."""
    encoding_format: Annotated[Literal["float", "base64", "bytes"], _words()] = "float"
    """JSON numbers, base64 of little-endian values, or those values alone as the answer's body, row by row."""
    output_dtype: Annotated[Literal["float32", "float16", "int8", "binary"], _words(float="float32")] = "float32"
    """float32 of length 1; float16; int8, scaled so that the largest coordinate is ±127; or sign bits, 8 to a byte."""
    input_type: _InputType | None = None
    """Puts the model's own prompt of that name before each text; null takes the model's default, if it has one."""
    instruction: Text | None = None
    """Task instruction put before each text, instead of the model's prompt; an empty one leaves texts as they are."""
    task: Text | None = None
    """Task whose adapter is used, of a model that has some; `retrieval.query` and `retrieval.passage` name the prompt
    too, as `input_type` does. Null uses none."""
    truncate: _Truncate = "end"
    """What goes when a text is too long: its end, its start, or the request (413)."""


class EmbedRequest(Strict):
    """`POST /embed`: the body of Text Embeddings Inference, and `model`."""

    foreign = TEI
    texts = {"inputs": False}

    inputs: TextInput
    """A text or texts."""
    model: Text | None = None
    """Name or alias of a member; null is the first member."""
    normalize: bool = True
    """Whether vectors are scaled to length 1."""
    truncate: bool = False
    """Whether a too long text is cut; otherwise the request is refused (413)."""
    truncation_direction: _Direction = "right"
    """Which end of a too long text goes."""
    prompt_name: Text | None = None
    """Name of one of the model's prompts."""
    dimensions: Width | None = None
    """Width of the vectors."""


class CohereEmbedRequest(Strict):
    """`POST /v2/embed` and `/v1/embed`: the body of Cohere's API."""

    foreign = COHERE
    texts = {"texts": False}

    wanted: Texts = Field(alias="texts")
    """Texts."""
    model: Text
    """Name or alias of a member."""
    input_type: _CohereInputType | None = None
    """`search_query` and `search_document` put the model's own prompts before each text; the other two the default."""
    embedding_types: Annotated[list[_CohereType], Field(min_length=1)] | None = None
    """In which types the vectors are answered; null is `float`."""
    output_dimension: Width | None = None
    """Width of the vectors."""
    truncate: _Truncate = "end"
    """What goes when a text is too long: its end, its start, or the request (413)."""


class SearchRequest(Strict):
    """`POST /v1/search`."""

    foreign = SEARCH

    query: Text
    """What is asked for; the model's own query prompt goes before it."""
    model: Text | None = None
    """Name or alias of a member; null is the first member."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    """Documents returned, at most."""
    dimensions: Width | None = None
    """Width of the vectors that are compared."""


class SentencePair(Strict):
    """What `POST /similarity` compares."""

    source_sentence: Text
    sentences: Texts


class SimilarityParameters(Strict):
    """How `POST /similarity` embeds."""

    truncate: bool = False
    truncation_direction: _Direction = "right"
    prompt_name: Text | None = None


class SimilarityRequest(Strict):
    """`POST /similarity`: the body of Text Embeddings Inference, and `model`."""

    foreign = SIMILARITY
    texts = {"inputs.sentences": False}

    inputs: SentencePair
    parameters: SimilarityParameters = SimilarityParameters()
    model: Text | None = None
    """Name or alias of a member; null is the first member."""


class RerankDocument(Strict):
    """A document as an object."""

    text: Text


class RerankRequest(Strict):
    """`POST /v1/rerank` and `/v2/rerank`: the body of Cohere's and Jina's APIs."""

    foreign = RERANK

    query: Text
    """What is asked for."""
    documents: Annotated[list[Annotated[Text | RerankDocument, Field(union_mode="left_to_right")]], Field(min_length=1)]
    """Texts, or objects with a text."""
    model: Text | None = None
    """Name of a reranker; null is the first."""
    top_n: Annotated[int, Field(ge=1)] | None = None
    """Only so many of the best; null is all."""
    return_documents: bool = False
    """Whether the texts come back too."""


class TeiRerankRequest(Strict):
    """`POST /rerank`: the body of Text Embeddings Inference, and `model`."""

    foreign = RERANK
    texts = {"texts": False}

    query: Text
    """What is asked for."""
    texts_: Texts = Field(alias="texts")
    """Texts."""
    model: Text | None = None
    """Name of a reranker; null is the first."""
    raw_scores: bool = False
    """Whether scores are the model's own numbers, instead of between 0 and 1."""
    return_text: bool = False
    """Whether the texts come back too."""


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """Every answer with a status of 400 or more."""

    error: ErrorDetail


def parse(model: type[Body], body: bytes, content_type: str | None) -> Body:
    """Read a request body.

    Args:
        model: what it must be.
        body: its bytes.
        content_type: the request's header, for its charset.

    Raises:
        Problem: 400 where it is not JSON, 415 for an unknown charset, 422 where a field is missing, unknown or wrong.
    """
    given = read_object(body, content_type)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _problem(model, given, error.errors(include_url=False)[0]) from None


def _problem(model: type[Strict], given: dict[str, Any], error: Any) -> ApiError:
    path, value = _find(given, error)
    param = path.partition(".")[0]
    if value is None:
        reason = "is missing" if error["type"] == "missing" else "is null, and has no default"
        return ApiError(422, "missing_field", f"{path}: {reason}.", param=param)
    if path in model.texts:
        return ApiError(422, "invalid_field", explain_texts(path, value, token_ids=model.texts[path]), param=param)
    return ApiError(422, "invalid_field", explain_field(path, value, error), param=param)


def _find(given: dict[str, Any], error: Any) -> tuple[str, Any]:
    """Return the path of the field that an error is about, and what was sent for it."""
    value: Any = given
    path = []
    for part in error["loc"]:  # in a list, what follows is the element, or which branch of a union was tried
        if not isinstance(value, dict) or (part not in value and error["type"] != "missing"):
            break
        path.append(part)
        value = value.get(part)
    return ".".join(path), value
