"""Propose what a file is: the kind of its source, its task and which column holds what, with the reason in words.

Pure functions of a `Look`. The first rule that fits wins, from the most telling layout to two columns of text.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polyglossa.corpus.splits import SPLITS, split_of
from polyglossa.errors import DataError, list_names
from polyglossa.scaffold.look import Look

_QUERY = ("query", "question", "anchor", "sentence1", "title", "instruction", "prompt", "input", "source", "summary")
_POSITIVE = (
    "positive", "passage", "answer", "document", "pos", "sentence2", "context", "response", "output", "target",
    "abstract", "code", "text", "body", "doc", "item", "product", "title",
)  # fmt: skip
_LABEL = ("label", "intent", "category", "topic", "class")
_LANGUAGE = ("language", "lang", "locale")
_GROUP = ("passage_id", "document_id", "doc_id", "group")
_INDEX = ("index_id", "sentence_id", "index", "id")
_SCORE = ("score", "similarity")
_WEIGHT = ("clicks", "click", "click_count", "weight", "count", "frequency")
_SPLIT = ("split", "partition", "subset_split", "data_split")
_CODE = re.compile(r"[a-z]{2,3}(_[A-Z][a-z]{3})?")
_FEW_LABELS = 0.2  # labels are few beside rows
_SWAPPED, _LONG_QUERY = 2.5, 120  # times, characters


@dataclass(frozen=True)
class Proposal:
    """A source entry, and why."""

    look: Look
    entry: dict[str, Any]
    reason: str
    query: str
    """Column that stands for queries, for lengths."""
    positive: str
    weight: str | None = None
    """Column that says how often a document was chosen for its query."""

    @property
    def task(self) -> str:
        """Task of the rows."""
        return "bitext" if self.entry["kind"] == "bitext" else str(self.entry.get("task", "retrieval"))

    @property
    def brings_negatives(self) -> bool:
        """Whether rows have negatives of their own."""
        if self.entry["kind"] in ("f2llm", "labelled"):
            return True
        return bool(self.entry.get("columns", {}).get("negatives"))


def propose(look: Look) -> Proposal:
    """Propose an entry of `corpus.sources`.

    Raises:
        DataError: no rule fits; says what the columns are.
    """
    found = (
        _f2llm(look) or _pairs(look) or _labelled(look) or _long_bitext(look) or _wide_bitext(look) or _any_two(look)
    )
    if found is None:
        raise DataError(
            f"{look.paths[0]}: no two columns of text, and no text with a label; its columns are "
            f"{list_names(look.columns)}{_nested(look)}. Name them with `--columns query=…,positive=…`."
        )
    _check_sides(found)
    return found


def _check_sides(found: Proposal) -> None:
    """Refuse columns that look swapped: a model would learn to find questions by answers.

    Raises:
        DataError: what asks is much longer than what answers.
    """
    if found.entry["kind"] != "pairs" or found.task != "retrieval":
        return
    asks, answers = (found.look.mean_characters(name) for name in (found.query, found.positive))
    if asks > _SWAPPED * max(answers, 1.0) and asks > _LONG_QUERY:
        raise DataError(
            f"{found.look.paths[0]}: {found.query} should ask and has {asks:,.0f} characters on average, "
            f"{found.positive} should answer and has {answers:,.0f}: are they swapped? Say which is which with "
            f"`--columns query={found.positive},positive={found.query}`, or the other way round if it is right."
        )


def _nested(look: Look) -> str:
    """Where columns hold objects: what to do about it."""
    inner = [(name, next(filter(None, map(_object_in, values)), None)) for name, values in look.columns.items()]
    held = [f"{name} holds objects ({', '.join(list(value)[:4])})" for name, value in inner if value]
    if not held:
        return ""
    command = f" ({look.flattened_by})" if look.flattened_by else ""
    return f"; {list_names(held)}, write their texts as columns{command}"


def pairs_from_columns(look: Look, columns: dict[str, str]) -> Proposal:
    """Take the columns as they are given (`query`, `positive`, and any other of `PairColumns`).

    Raises:
        DataError: a column is not in the file.
    """
    unknown = [column for column in columns.values() if column not in look.columns]
    if unknown:
        raise DataError(f"{look.paths[0]}: has no column {unknown[0]!r}; it has {list_names(look.columns)}.")
    split = {} if "split" in columns else _split(look)
    entry = _entry(look, "pairs", task="retrieval", columns={**columns, **split})
    return Proposal(look, entry, "as given", columns.get("query", "query"), columns.get("positive", "passage"))


def _entry(look: Look, kind: str, **rest: Any) -> dict[str, Any]:
    delimiter = {"delimiter": look.delimiter} if look.delimiter is not None else {}
    return {"kind": kind, "name": look.name, **rest, "files": list(look.paths), **delimiter}


def _split(look: Look) -> dict[str, str]:
    """The column that divides the rows, if there is one: rows that others judge by must not be trained on.

    Raises:
        DataError: it holds values that stand for no split.
    """
    name = _present(look, _SPLIT)
    if name is None:
        return {}
    unknown = sorted({str(value) for value in look.columns[name] if value is not None and split_of(str(value)) is None})
    if unknown:
        raise DataError(
            f"{look.paths[0]}: column {name!r} holds {unknown[0]!r}, which stands for no split; known are "
            f"{', '.join(SPLITS)}, in any case. Rename the values, or the column if it is no split."
        )
    return {"split": name}


def _object_in(value: Any) -> dict[str, Any] | None:
    """An object that a cell holds, itself or first in a list."""
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, dict) else None


def _f2llm(look: Look) -> Proposal | None:
    if not {"query", "passage", "negative_1"} <= set(look.columns) or _split(look):
        return None
    entry = _entry(look, "f2llm", task="retrieval")
    return Proposal(look, entry, "query, passage and negative_1 … are F2LLM-v2's layout", "query", "passage")


def _pairs(look: Look) -> Proposal | None:
    query = _column(look, _QUERY)
    positive = _column(look, [name for name in _POSITIVE if name != query])
    if query is None or positive is None:
        return None
    columns: dict[str, Any] = {"query": query, "positive": positive}
    negatives = [name for name in look.columns if name.lower().startswith("neg") and look.texts(name)]
    if negatives:
        columns["negatives"] = negatives
    for key, names in (("language", _LANGUAGE), ("group", _GROUP)):
        if (found := _present(look, names)) is not None:
            columns[key] = found
    columns |= _split(look)
    is_code = {"code": True} if positive.lower() == "code" else {}
    score, weight, task = _number(look, _SCORE), _number(look, _WEIGHT), "retrieval"
    said = f"{query} asks, {positive} answers"
    if score is not None:
        columns["score"], task, weight = score, "sts", None
        said = f"{score} says how alike {query} and {positive} are"
    elif weight is not None:
        columns["score"], said = weight, f"{said}, chosen {weight} times"
    return Proposal(look, _entry(look, "pairs", task=task, columns=columns, **is_code), said, query, positive, weight)


def _labelled(look: Look) -> Proposal | None:
    label, text = _present(look, _LABEL), _longest_text(look)
    if label is None or text is None or text == label:
        return None
    values = [str(value) for value in look.columns[label] if value is not None]
    if len(set(values)) > max(2, _FEW_LABELS * len(values)):
        return None
    entry = _entry(look, "labelled", text=text, label=label, **_split(look))
    if (language := _present(look, _LANGUAGE)) is not None:
        entry["language_column"] = language
    task = "classification" if len(set(values)) == 2 else "clustering"
    return Proposal(look, entry | {"task": task}, f"{len(set(values))} values of {label} sort {text}", text, text)


def _long_bitext(look: Look) -> Proposal | None:
    language, index, text = _present(look, _LANGUAGE), _present(look, _INDEX), _longest_text(look)
    if language is None or index is None or text is None:
        return None
    if len(set(map(str, look.columns[language]))) < 2 and len(look.paths) < 2:
        return None
    entry = _entry(look, "bitext", layout="long", index=index, text=text, language_column=language, **_split(look))
    return Proposal(look, entry, f"rows of one {index} are one sentence, {language} says in what language", text, text)


def _wide_bitext(look: Look) -> Proposal | None:
    columns = [name for name in look.columns if _CODE.fullmatch(name) and name != "id" and look.texts(name)]
    if len(columns) < 2:
        return None
    languages = {name: name for name in columns}
    entry = _entry(look, "bitext", layout="wide", languages=languages, **_split(look))
    return Proposal(look, entry, f"{', '.join(columns)} are languages", columns[0], columns[1])


def _any_two(look: Look) -> Proposal | None:
    texts = sorted((name for name in look.columns if _is_text(look, name)), key=look.mean_characters)
    if len(texts) < 2:
        return None
    query, positive = texts[-2], texts[-1]
    entry = _entry(look, "pairs", task="retrieval", columns={"query": query, "positive": positive, **_split(look)})
    return Proposal(look, entry, f"a guess: {query} is the shorter text and asks for {positive}", query, positive)


def _column(look: Look, names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in look.columns}
    return next((lower[name] for name in names if name in lower and look.texts(lower[name])), None)


def _present(look: Look, names: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in look.columns}
    return next((lower[name] for name in names if name in lower), None)


def _number(look: Look, names: Sequence[str]) -> str | None:
    name = _present(look, names)
    return name if name is not None and all(map(_is_number, look.columns[name])) else None


def _is_number(value: Any) -> bool:
    """Tell a number, or a cell of CSV that is written as one."""
    try:
        return value is not None and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _is_text(look: Look, name: str) -> bool:
    return len(look.texts(name)) >= 0.9 * len(look.columns[name]) and look.mean_characters(name) >= 3


def _longest_text(look: Look) -> str | None:
    texts = [name for name in look.columns if _is_text(look, name)]
    return max(texts, key=look.mean_characters, default=None)
