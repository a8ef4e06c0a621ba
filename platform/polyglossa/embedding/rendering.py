"""Texts as a model from anywhere reads them: behind a recipe's prompts, its own, or a row's instruction. Pure."""

from collections.abc import Mapping
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.model.instructions import render
from polyglossa.vectors import Flags
from polyglossa.whitespace import WHITESPACE

Column = Any
"""`pa.Array` or `pa.ChunkedArray` of strings."""


class Prompting(Protocol):
    """What a recipe says of a model's prompts."""

    @property
    def prompts(self) -> str:
        """`instruction`, `model` or `none`."""

    @property
    def query_prompt(self) -> str | None:
        """Put before every query, in place of what `prompts` gives."""

    @property
    def document_prompt(self) -> str | None:
        """Put before every document, likewise."""


def render_queries(texts: Column, instructions: Column, prompting: Prompting, prompts: Mapping[str, str]) -> pa.Array:
    """Render queries by the recipe's `query_prompt`, else as `prompts` says; an empty query stays empty."""
    prompt = prompting.query_prompt
    if prompt is None and prompting.prompts == "model":
        prompt = prompts.get("query", "")
    if prompt is None and prompting.prompts == "instruction":
        pairs = zip(texts.to_pylist(), instructions.to_pylist(), strict=True)
        return pa.array([render(text, instruction) if text.strip() else "" for text, instruction in pairs], pa.string())
    return _prefixed(texts, prompt or "")


def render_documents(texts: Column, prompting: Prompting, prompts: Mapping[str, str]) -> pa.Array:
    """Render documents: bare, but for the recipe's `document_prompt` or the model's own prompt."""
    prompt = prompting.document_prompt
    if prompt is None and prompting.prompts == "model":
        prompt = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), "")
    return _prefixed(texts, prompt or "")


def blank(texts: Column) -> Flags:
    """Tell which texts hold nothing but white space."""
    return pc.match_substring_regex(texts, f"^[{WHITESPACE}]*$").to_numpy(zero_copy_only=False)


def _prefixed(texts: Column, prompt: str) -> pa.Array:
    joined = pc.binary_join_element_wise(prompt, texts, "") if prompt else texts
    plain = pc.if_else(pa.array(blank(texts)), "", joined)
    return plain.combine_chunks() if isinstance(plain, pa.ChunkedArray) else plain
