"""Read a recipe: YAML 1.2 scalars, repeated `--set a.b.c=value`, and errors that name the path and the near miss."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from polyglossa.errors import RecipeError
from polyglossa.recipe.extend import extend
from polyglossa.recipe.models import Recipe
from polyglossa.recipe.placement import Profile
from polyglossa.recipe.scale import apply_scale
from polyglossa.recipe.strict import Strict

Model = TypeVar("Model", bound=Strict)


class _Yaml12(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 scalars: `no` is Norwegian, not false, and 1e-4 is a number."""


_Yaml12.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float", ":int", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$", re.I), list("tTfF"))
_Yaml12.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?\d+$"), list("-+0123456789"))
_Yaml12.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML text.

    Raises:
        RecipeError: the text is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Yaml12)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


class _Yaml12Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes what the loader above would take for a number."""


_Yaml12Dumper.yaml_implicit_resolvers = {
    first: yaml.SafeDumper.yaml_implicit_resolvers.get(first, []) + _Yaml12.yaml_implicit_resolvers.get(first, [])
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Yaml12.yaml_implicit_resolvers}
}


def dump_yaml(data: Any) -> str:
    """Write plain data as YAML that `parse_yaml` reads back the same."""
    return yaml.dump(data, Dumper=_Yaml12Dumper, sort_keys=False, allow_unicode=True, width=120)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, override and validate a recipe file.

    Args:
        path: YAML file; it may extend another one (`extends: other.yaml`).
        overrides: `a.b.c=value` items; values are YAML; list items by index (`members.0.steps=5`) or, in a list of
            named things, by name (`members.small.steps=5`).

    Raises:
        RecipeError: file missing, not YAML, or not a valid recipe; the message is one line.
    """
    scales = [override for override in overrides if override.startswith("scale=")]
    data = apply_scale(apply_overrides(_read_extended(Path(path)), scales))
    return validate(Recipe, apply_overrides(data, [item for item in overrides if item not in scales]), str(path))


def load_profile(path: str | Path | None) -> Profile:
    """Read a placement profile; None is the local default.

    Raises:
        RecipeError: the file is missing or not a valid profile.
    """
    return Profile() if path is None else validate(Profile, read_mapping(path), str(path))


def _read_extended(path: Path) -> dict[str, Any]:
    return extend(read_mapping(path), path, _read_extended)


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RecipeError(f"{path}: cannot be read ({reason}). Give the path of a YAML file.") from None
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: holds a {type(data).__name__}, not a mapping of recipe keys.")
    return data


def validate(model: type[Model], data: Any, where: str) -> Model:
    """Validate plain data against a strict model; a failure is one line that names the path and the near miss."""
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise RecipeError(f"{where}: {_explain(model, error)}") from None


def apply_overrides(data: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of the data with every `a.b.c=value` applied in order."""
    result: dict[str, Any] = json.loads(json.dumps(data))
    for override in overrides:
        path, separator, value = override.partition("=")
        if not separator or not path:
            raise RecipeError(f"--set {override}: write it as a.b.c=value.")
        _assign(result, path.split("."), parse_yaml(value, f"--set {override}"), override)
    return result


def _assign(data: Any, keys: list[str], value: Any, override: str) -> None:
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(data, list):
            index = _index(data, key)
            if index is None:
                known = [item.get("name", str(i)) for i, item in enumerate(data) if isinstance(item, dict)]
                raise RecipeError(f"--set {override}: {key!r} is not an item of the list; it has {', '.join(known)}.")
            if last:
                data[index] = value
            else:
                data = data[index]
        elif isinstance(data, dict):
            key = as_spelled(data, key)
            if last:
                data[key] = value
            else:
                data = data.setdefault(key, {})
        else:
            raise RecipeError(f"--set {override}: {'.'.join(keys[:depth])} is a value, not a section.")


_FORMER_NAMES = {"terms": "teacher_terms"}
"""Keys by what they were called before; both are read."""


def as_spelled(data: Mapping[str, Any], key: str) -> str:
    """Return a key as the data spells it, under its name of today or its former one."""
    if key in data:
        return key
    others = {**_FORMER_NAMES, **{former: name for name, former in _FORMER_NAMES.items()}}
    other = others.get(key, key)
    return other if other in data else key


def _index(items: list[Any], key: str) -> int | None:
    if key.isdigit():
        return int(key) if int(key) < len(items) else None
    return next((i for i, item in enumerate(items) if isinstance(item, dict) and item.get("name") == key), None)


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    details = error.errors()
    # An unknown key explains the missing one beside it, so it is the one to name.
    first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
    path = ".".join(str(part) for part in first["loc"]) or "recipe"
    if first["type"] == "extra_forbidden":
        allowed = _allowed_names(model, first["loc"][:-1])
        key = str(first["loc"][-1])
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed here: {', '.join(sorted(allowed))}."
        return f"{path}: unknown key; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return message if not first["loc"] else f"{path}: {message}"
    if first["type"] == "missing":
        return f"{path}: is missing, and has no default."
    return f"{path}: got {json.dumps(first['input'], default=str)[:80]}. {message}."


def _allowed_names(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Names allowed at a location, following fields, containers and unions."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        found: list[type[BaseModel]] = []
        for candidate in models:
            for name, field in candidate.model_fields.items():
                if part in (name, field.alias):
                    found += _models_in(field.annotation)
        models = found or models  # an index, a mapping key or a union tag stays on the same models
    return sorted({field.alias or name for candidate in models for name, field in candidate.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
