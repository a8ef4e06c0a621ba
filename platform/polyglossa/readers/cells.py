"""What a column may hold and what becomes of a value in it: one rule for values of JSON, CSV and Arrow.

A text is a text. A key (id, label, language) is text whatever it looks like: `01` and `1` are two, numbers are written
in full (a whole float without its point), a blank one is absent. A number is finite; a blank one is absent.
"""

import datetime
import decimal
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.errors import DataError
from polyglossa.whitespace import WHITESPACE

Cell = Literal["text", "texts", "key", "number"]
"""What a column holds: a text; a text or a list of texts; a short string or a number read as one; a number."""
_TEXTS = pa.list_(pa.string())
TYPES: dict[str, pa.DataType] = {"text": pa.string(), "texts": _TEXTS, "key": pa.string(), "number": pa.float64()}

Reasons = list[str | None]
"""Why each value cannot be in its column, or None."""
_EXACT = 2**53
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class _BadCell(Exception):
    """A value that its column cannot hold; its text is the reason."""


def column_of(values: Sequence[Any], cell: Cell) -> tuple[pa.Array, Reasons | None]:
    """Make a column of Python values; where some cannot be in it, also a reason for each."""
    try:
        return _quick(values, cell), None
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, TypeError):
        pass
    rule = _RULES[cell]
    kept: list[Any] = []
    reasons: Reasons = []
    for value in values:
        try:
            kept.append(None if value is None else rule(value))
            reasons.append(None)
        except _BadCell as error:
            kept.append(None)
            reasons.append(str(error))
    return pa.array(kept, TYPES[cell]), reasons


def _quick(values: Sequence[Any], cell: Cell) -> pa.Array:
    """The column where all values are text: no rule is asked value by value."""
    if cell == "number":
        raise TypeError
    texts = pa.array(values, pa.string())  # refuses all but text, bytes and nulls
    if bytes in set(map(type, values)):
        raise TypeError
    if cell == "texts":
        return wrapped(texts)
    return _absent_if_blank(texts) if cell == "key" else texts


def _absent_if_blank(texts: pa.Array) -> pa.Array:
    blank = pc.match_substring_regex(texts, f"^[{WHITESPACE}]*$")
    return pc.if_else(blank, pa.scalar(None, pa.string()), texts) if pc.any(blank).as_py() else texts


def wrapped(texts: pa.Array) -> pa.Array:
    """Each text as a list of one; a null as no list."""
    offsets = pa.array(range(len(texts) + 1), pa.int32())
    return pa.ListArray.from_arrays(offsets, texts, mask=texts.is_null())


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise _BadCell("invalid_utf8") from None
    if not isinstance(value, str):
        raise _BadCell("not_finite" if isinstance(value, float) and not math.isfinite(value) else "wrong_type")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            escaped = all("\udc80" <= character <= "\udcff" for character in value[error.start : error.end])
            raise _BadCell("invalid_utf8" if escaped else "lone_surrogate") from None
    return value


def _texts(value: Any) -> list[str | None]:
    if isinstance(value, list | tuple):
        return [None if text is None else _text(text) for text in value]
    return [_text(value)]


def _key(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _BadCell("not_finite")
        if abs(value) >= _EXACT:  # which number was meant is lost
            raise _BadCell("inexact_number")
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int | decimal.Decimal | datetime.date | datetime.time):
        return str(value)
    text = _text(value)
    return None if not text or text.isspace() else text


def _number(value: Any) -> float | None:
    if isinstance(value, bytes):
        value = _text(value)
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        if value.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise _BadCell("not_finite")
        if _NUMBER.fullmatch(value) is None:
            raise _BadCell("wrong_type")
    elif isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        raise _BadCell("wrong_type")
    try:
        number = float(value)
    except OverflowError:
        raise _BadCell("not_finite") from None
    if not math.isfinite(number):
        raise _BadCell("not_finite")
    return number


_RULES: dict[Cell, Callable[[Any], Any]] = {"text": _text, "texts": _texts, "key": _key, "number": _number}


def column_of_arrow(column: pa.ChunkedArray, cell: Cell, where: str) -> tuple[pa.Array, Reasons | None]:
    """Read a typed column as what it must hold, by Arrow's own casts where these follow the rules.

    Raises:
        DataError: no value of its type can be in the column.
    """
    kind = column.type
    while pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if not _may_hold(kind, cell):
        wanted = {"number": "a number", "key": "a text or a number"}.get(cell, "text")
        raise DataError(f"{where} holds {kind}, not {wanted}.")
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    if pa.types.is_null(kind):
        return pa.nulls(len(array), TYPES[cell]), None
    if _is_list(kind):
        return _lists(array)
    if _is_textual(kind):
        return _textual(array, cell)
    if cell == "key" and not pa.types.is_floating(kind):
        return array.cast(pa.string()), None
    if cell == "number":
        numbers = array.cast(pa.float64(), safe=False)
        if pc.all(pc.is_finite(numbers)).as_py() is not False:
            return numbers, None
    return column_of(array.cast(pa.float64()).to_pylist() if pa.types.is_floating(kind) else array.to_pylist(), cell)


def _may_hold(kind: pa.DataType, cell: Cell) -> bool:
    if pa.types.is_null(kind) or _is_textual(kind):
        return True
    if cell == "texts" and _is_list(kind):
        leaf = kind.value_type
        leaf = leaf.value_type if pa.types.is_dictionary(leaf) else leaf
        return _is_textual(leaf) or pa.types.is_null(leaf)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_named = pa.types.is_boolean(kind) or pa.types.is_temporal(kind)
    return (is_number and cell in ("key", "number")) or (is_named and cell == "key")


def _is_list(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_list,
            pa.types.is_large_list,
            pa.types.is_fixed_size_list,
            pa.types.is_list_view,
            pa.types.is_large_list_view,
        )
    )


def _is_textual(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def _textual(array: pa.Array, cell: Cell) -> tuple[pa.Array, Reasons | None]:
    if cell != "number":
        try:
            texts = _valid(array.cast(pa.string()))
            if cell == "texts":
                return wrapped(texts), None
            return (_absent_if_blank(texts) if cell == "key" else texts), None
        except pa.ArrowInvalid:
            pass
    return column_of(array.cast(pa.large_binary()).to_pylist(), cell)


def _valid(texts: pa.Array) -> pa.Array:
    texts.validate(full=True)
    return texts


def _lists(array: pa.Array) -> tuple[pa.Array, Reasons | None]:
    if pa.types.is_list_view(array.type) or pa.types.is_large_list_view(array.type):
        return column_of([_values(scalar) for scalar in array], "texts")  # Arrow 26 casts them to broken offsets
    try:
        lists = array.cast(_TEXTS)
        _valid(lists.flatten())
        return lists, None
    except pa.ArrowInvalid:
        return column_of(array.cast(pa.list_(pa.large_binary())).to_pylist(), "texts")


def _values(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return b"\xff"
