"""Settle the fields of other servers' requests.

What cannot change a vector is ignored; what could is taken only where it asks for what happens here anyway; the rest is
refused, and a misspelt field of ours is told apart.

Sources: the request schemas of OpenAI, LiteLLM and vLLM (`/v1/embeddings`), Jina and Voyage (the same route), Cohere,
Ollama, Text Embeddings Inference and Hugging Face's inference client (`/embed`).
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from polyglossa.serving.errors import ApiError


@dataclass(frozen=True)
class Foreign:
    """A field that we do not have.

    Args:
        same: values that ask for what happens here anyway; None: any value does, it is not about vectors.
        instead: what to send for another value.
    """

    same: tuple[Any, ...] | None = None
    instead: str = ""


_ABOUT_THE_REQUEST = (
    *("user", "metadata", "request_id", "priority", "service_tier", "safety_identifier", "store", "tags"),
    *("timeout", "extra_headers", "extra_query", "cache_salt", "keep_alive"),
)
_COMMON = {name: Foreign() for name in _ABOUT_THE_REQUEST} | {
    "add_special_tokens": Foreign((True,), "send token ids for other tokens"),
    "late_chunking": Foreign((False,), "send the texts one by one"),
    "embedding_type": Foreign(("float",), "set encoding_format or output_dtype"),
    "embedding_types": Foreign((["float"],), "set encoding_format or output_dtype"),
    "embed_dtype": Foreign(("float32",), "set output_dtype"),
    "endianness": Foreign(("native", "little"), "values are little-endian"),
}
OPENAI = _COMMON | {
    "normalize": Foreign((True,), "use /embed for vectors as the model gives them"),
    "normalized": Foreign((True,), "use /embed for vectors as the model gives them"),
    "use_activation": Foreign((True,), "use /embed for vectors as the model gives them"),
    "truncation": Foreign((True,), "set truncate to error"),
    "truncate_prompt_tokens": Foreign((-1,), "a text is cut at the model's own limit only"),
    "truncation_side": Foreign(("right",), "set truncate to start"),
    "prompt_name": Foreign((), "set input_type"),
    "output_dimension": Foreign((), "set dimensions"),
    "texts": Foreign((), "set input"),
    "inputs": Foreign((), "set input, or ask /embed"),
    "messages": Foreign((), "set input"),
    "images": Foreign((), "only texts are embedded"),
    "options": Foreign(({},), "none of them is known here"),
}
TEI = _COMMON | {
    "input": Foreign((), "set inputs, or ask /v1/embeddings"),
    "encoding_format": Foreign(("float",), "ask /v1/embeddings for base64"),
    "input_type": Foreign((), "set prompt_name"),
    "options": Foreign(),
    "parameters": Foreign(({},), "put them beside inputs"),
}

COHERE = _COMMON | {
    "input": Foreign((), "set texts, or ask /v1/embeddings"),
    "inputs": Foreign((), "set texts; only texts are embedded"),
    "images": Foreign((), "only texts are embedded"),
    "max_tokens": Foreign((), "a text is cut at the model's own limit only"),
    "dimensions": Foreign((), "set output_dimension"),
}
RERANK = _COMMON | {
    "truncate": Foreign((True,), "a pair that is too long is always cut"),
    "truncation_direction": Foreign(("right",), "a pair is cut at its end"),
    "max_tokens_per_doc": Foreign((), "a pair is cut at the model's own limit only"),
    "max_chunks_per_doc": Foreign((1,), "a document is read once"),
    "rank_fields": Foreign(([],), "send texts"),
    "input": Foreign((), "set documents, or texts at /rerank"),
}
SIMILARITY = _COMMON | {"options": Foreign()}
SEARCH = _COMMON | {
    "input": Foreign((), "set query"),
    "documents": Foreign((), "the endpoint's own are searched; send others to /v1/embeddings or /v1/rerank"),
    "top_n": Foreign((), "set limit"),
    "top_k": Foreign((), "set limit"),
}


def settle_fields(body: Mapping[str, Any], own: Iterable[str], foreign: Mapping[str, Foreign]) -> dict[str, Any]:
    """Keep the fields that are ours.

    Args:
        body: fields that are not null.
        own: names of our fields.
        foreign: fields of others.

    Raises:
        Problem: 422, a field is of nobody, is one of ours misspelt, or asks for what is not done here.
    """
    names = list(own)
    for name in [name for name in body if name not in names]:
        known = foreign.get(name)
        if known is None:
            raise _unknown(name, names)
        if known.same is not None and _plain(body[name]) not in known.same:
            also = f" (only {_listed(known.same)} is)" if known.same else ""
            raise ApiError(422, "unknown_field", f"{name}: is not offered here{also}; {known.instead}.", param=name)
    return {name: value for name, value in body.items() if name in names}


def _plain(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _listed(values: tuple[Any, ...]) -> str:
    return " or ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)


def _unknown(name: str, own: list[str]) -> ApiError:
    near = difflib.get_close_matches(name.strip().lower().replace("-", "_"), own, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(own)}."
    return ApiError(422, "unknown_field", f"{name[:80]}: no such field is known here; {hint}", param=name[:80])
