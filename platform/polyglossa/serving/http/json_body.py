"""From the bytes of a request to its JSON object, in whatever encoding they come, and nothing misread in silence."""

import codecs
import json
from email.message import Message
from typing import Any

from polyglossa.serving.errors import ApiError

_CHARSETS = frozenset(
    ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "ascii", "iso8859-1", "cp1252")
)


def read_object(body: bytes, content_type: str | None) -> dict[str, Any]:
    """Read a body that is a JSON object.

    The charset is the one that the content type names, else UTF-8, or UTF-16 and UTF-32 where the first bytes tell.
    Half surrogate pairs stay in their texts: they are an error of the text that holds them, not of the body.

    Args:
        body: all of it.
        content_type: the header; only its charset counts, as clients name many types.

    Raises:
        Problem: 400 where it is not JSON, 415 for an unknown charset, 422 where it is another JSON value.
    """
    try:
        found = json.loads(
            _decode(body, content_type), object_pairs_hook=_without_doubles, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        what = (
            "is empty" if not body.strip() else f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        )
        raise ApiError(400, "malformed_json", f"The body {what}.") from None
    except RecursionError:
        raise ApiError(400, "malformed_json", "The body is not read: it is nested too deeply.") from None
    except ValueError as error:
        reason = "a number has too many digits" if "digits" in str(error) else str(error)
        raise ApiError(400, "malformed_json", f"The body is not read: {reason}.") from None
    if not isinstance(found, dict):
        raise ApiError(422, "invalid_field", f"The body is {kind(found)}; it must be an object with fields.")
    return found


def kind(value: Any) -> str:
    """Name the kind of a JSON value, never its content."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    names = {str: "a text", int: "a whole number", float: "a number with a fraction", list: "a list", dict: "an object"}
    return names[type(value)]


def _decode(body: bytes, content_type: str | None) -> str:
    charset = _charset(content_type) or json.detect_encoding(body)
    try:
        # `surrogatepass`: some clients write halves of surrogate pairs as three bytes each.
        text = body.decode(charset, "surrogatepass" if charset.startswith("utf") else "strict")
    except UnicodeDecodeError as error:
        message = f"The body is not {error.encoding.upper()}: its byte {error.start} cannot be read. Send UTF-8."
        raise ApiError(400, "malformed_json", message) from None
    return text.removeprefix("\ufeff")


def _charset(content_type: str | None) -> str | None:
    if not content_type or "charset" not in content_type.lower():
        return None
    header = Message()
    header["content-type"] = content_type
    named = header.get_content_charset()
    try:
        charset = codecs.lookup(named).name if named else None
    except (LookupError, ValueError):
        charset = ""
    if charset is not None and charset not in _CHARSETS:
        raise ApiError(415, "unknown_charset", "The charset of the content type is not known here. Send UTF-8.")
    return charset


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the field {twice[:40]!r} stands in it twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
