"""A recipe file that starts from another one: `extends: f2llm-v2.yaml`, and only what differs beside it.

Mappings are merged key by key, lists of named things (members, sources) by name; any other value takes the place of
the one before. `null` takes a section away where the schema lets it be missing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyglossa.errors import RecipeError

KEY = "extends"


def extend(data: dict[str, Any], path: Path, read: Any) -> dict[str, Any]:
    """Merge a recipe's plain data into that of the file that it extends.

    Args:
        data: plain data, perhaps with `extends`, a path beside the file.
        path: the file.
        read: reads another file's plain data, extended in turn.

    Raises:
        RecipeError: `extends` is no path, or leads back to the file itself.
    """
    if KEY not in data:
        return data
    named = data[KEY]
    if not isinstance(named, str):
        raise RecipeError(f"{path}: {KEY}: got {named!r}. Give the path of a recipe, relative to this file.")
    base = path.parent / named
    if base.resolve() == path.resolve():
        raise RecipeError(f"{path}: {KEY}: the file extends itself. Name another recipe.")
    return merge(read(base), {key: value for key, value in data.items() if key != KEY})


def merge(base: Any, change: Any) -> Any:
    """Put a change over a value."""
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        return {**base, **{key: merge(base.get(key), value) for key, value in change.items()}}
    if _have_names(base) and _have_names(change):
        changes = {item["name"]: item for item in change}
        known = [item["name"] for item in base]
        return [
            *(merge(item, changes.get(item["name"], {})) for item in base),
            *(item for item in change if item["name"] not in known),
        ]
    return change


def _have_names(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, Mapping) and "name" in item for item in value)
