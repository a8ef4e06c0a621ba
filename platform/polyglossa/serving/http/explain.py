"""Say what is wrong with a field, and with which of its elements, without repeating what it holds."""

from typing import Any

from polyglossa.serving.http.json_body import kind

_LARGEST_ID = 2**31 - 1
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "model_type": "an object",
    "dict_type": "an object",
}


def explain_field(name: str, value: Any, error: Any) -> str:
    """Say why a field was refused.

    Args:
        name: path of the field (`parameters.truncate`).
        value: what was sent.
        error: pydantic's.
    """
    context = error.get("ctx", {})
    if error["type"] == "half_surrogate":
        return f"{name}: {_broken_text(value)}."
    if error["type"] == "literal_error":
        return f"{name}: must be {context['expected']}, not {_other(value)}."
    if error["type"] in _EXPECTED:
        return f"{name}: must be {_EXPECTED[error['type']]}, not {kind(value)}."
    if error["type"] == "greater_than_equal":
        return f"{name}: must be at least {context['ge']}."
    if error["type"] == "less_than_equal":
        return f"{name}: must be at most {context['le']}."
    return f"{name}: {error['msg']}."


def _other(value: Any) -> str:
    return "another text" if isinstance(value, str) else kind(value)


def explain_texts(name: str, value: Any, *, token_ids: bool) -> str:
    """Say why an input was refused.

    Args:
        name: name of the field.
        value: what was sent.
        token_ids: whether token ids are taken beside texts.
    """
    if isinstance(value, str):
        return f"{name}: {_broken_text(value)}."
    if not isinstance(value, list):
        ids = ", a list of token ids, or a list of lists of them" if token_ids else ""
        return f"{name}: is {kind(value)}; it must be a text, a list of texts{ids}."
    if not value:
        return f"{name}: is an empty list; it must hold at least one text."
    wanted = str if not token_ids else type(value[0])
    for index, element in enumerate(value):
        said = _wrong(f"{name}[{index}]", element, wanted)
        if said:
            same = f", as {name}[0] is" if index and token_ids and type(element) is not wanted else ""
            return f"{said}{same}."
    return f"{name}: is not valid."


def _wrong(place: str, element: Any, wanted: type) -> str | None:
    """Say what is wrong with an element of a list whose first is `wanted`; None: nothing."""
    if wanted is list and isinstance(element, list):
        return _wrong_ids(place, element)
    if wanted is int and type(element) is int:
        return _wrong_id(place, element)
    if wanted is str and isinstance(element, str):
        return f"{place}: {_broken_text(element)}" if _half(element) else None
    must = {int: "a token id", list: "a list of token ids"}.get(wanted, "a text")
    return f"{place}: is {kind(element)}; it must be {must}"


def _wrong_ids(place: str, ids: list[Any]) -> str | None:
    if not ids:
        return f"{place}: is an empty list; it must hold at least one token id"
    for index, one in enumerate(ids):
        if isinstance(one, str):
            return f"{place}[{index}]: is a text; a list within the list holds token ids, and texts stand in one list"
        if type(one) is not int:
            return f"{place}[{index}]: is {kind(one)}; it must be a token id"
        if said := _wrong_id(f"{place}[{index}]", one):
            return said
    return None


def _wrong_id(place: str, one: int) -> str | None:
    return None if 0 <= one <= _LARGEST_ID else f"{place}: is no token id; they lie within 0 … {_LARGEST_ID}"


def _half(text: str) -> str | None:
    """The first half of a surrogate pair in a text."""
    return next((one for one in text if "\ud800" <= one <= "\udfff"), None)


def _broken_text(text: str) -> str:
    half = _half(text)
    return f"holds half of a surrogate pair (U+{ord(half):04X}), which is no character" if half else "is no text"
