"""A recipe file that starts from another one: `extends: f2llm-v2.yaml`, and only what differs beside it.

Mappings are merged key by key, lists of named things (members, sources) by name; any other value takes the place of
the one before. `null` takes a section away where the schema lets it be missing; `without: [members.80m]` takes away
entries that the other file has and this one does without.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyglossa.errors import RecipeError

KEY = "extends"
WITHOUT = "without"


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
        if WITHOUT in data:
            raise RecipeError(f"{path}: {WITHOUT}: takes away what another file has. Give `{KEY}` too.")
        return data
    named = data[KEY]
    if not isinstance(named, str):
        raise RecipeError(f"{path}: {KEY}: got {named!r}. Give the path of a recipe, relative to this file.")
    base = path.parent / named
    if base.resolve() == path.resolve():
        raise RecipeError(f"{path}: {KEY}: the file extends itself. Name another recipe.")
    paths = data.get(WITHOUT, [])
    if not isinstance(paths, list) or not all(isinstance(one, str) for one in paths):
        raise RecipeError(f"{path}: {WITHOUT}: got {paths!r}. List the paths of entries, as `members.80m`.")
    kept = read(base)
    for one in paths:
        kept = _take_away(kept, one.split("."), f"{path}: {WITHOUT}: {one}")
    return merge(kept, {key: value for key, value in data.items() if key not in (KEY, WITHOUT)})


def _take_away(data: Any, keys: Sequence[str], where: str) -> Any:
    """Return plain data without the entry at a path; names may hold dots, so the longest that fits is taken."""
    for length in range(len(keys), 0, -1):
        name, rest = ".".join(keys[:length]), keys[length:]
        if isinstance(data, Mapping) and name in data:
            kept = {key: value for key, value in data.items() if rest or key != name}
            return kept | {name: _take_away(data[name], rest, where)} if rest else kept
        if _have_names(data) and any(item["name"] == name for item in data):
            return [
                _take_away(item, rest, where) if rest and item["name"] == name else item
                for item in data
                if rest or item["name"] != name
            ]
    raise RecipeError(f"{where}: the extended file has no such entry. Mend the path, or leave it out.")


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
