"""Documentation that derives from code: recipe keys from the models, formats from the reader, messages from errors.

Each stands between two marks of a Markdown file, whose other text is written by hand.
"""

import ast
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from polyglossa import errors
from polyglossa.readers import formats
from polyglossa.recipe import Profile, Recipe

_BEGIN, _END = "<!-- {} begins: `make docs` -->", "<!-- {} ends -->"
_ERRORS = tuple(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.PolyglossaError)
)
_LONGEST = 420


def documents(root: Path) -> dict[Path, str]:
    """Every file with derived parts, as it should read.

    Args:
        root: of the repository.
    """
    recipes, jobs = root / "jobs/recipes/README.md", root / "jobs/README.md"
    derived = {
        recipes: {"reference": recipe_reference()},
        jobs: {"formats": formats.described(), "troubleshooting": troubleshooting(root / "platform/polyglossa")},
    }
    return {path: _fill(path, parts) for path, parts in derived.items()}


def stale(root: Path) -> list[Path]:
    """Files whose derived parts are not current."""
    return [path for path, text in documents(root).items() if path.read_text(encoding="utf-8") != text]


def recipe_reference() -> str:
    """Render every key of recipes and profiles, section after section."""
    parts = []
    for top, title in ((Recipe, "recipe"), (Profile, "profile")):
        for model, where in _models(top, title):
            parts.append(f"#### `{where}`\n\n{_first(model.__doc__)}\n\n{_table(model)}")
    return "\n\n".join(parts)


def troubleshooting(package: Path) -> str:
    """Render the messages of all errors raised on purpose, by folder; `…` stands for what is found."""
    parts = []
    folders = sorted({path.relative_to(package).parts[0] for path in package.rglob("*.py") if path.parent != package})
    for folder in folders:
        found = sorted({one for path in sorted((package / folder).rglob("*.py")) for one in _messages(path)})
        if found:
            rows = "\n".join(f"| {_cell(message)} | {exit_code} |" for message, exit_code in found)
            parts.append(f"#### `{folder}`\n\n| message | exit code |\n|---|---|\n{rows}")
    return "\n\n".join(parts)


def _fill(path: Path, parts: Mapping[str, str]) -> str:
    """The file's text with its derived parts, each between its marks."""
    text = path.read_text(encoding="utf-8")
    for name, content in parts.items():
        begin, end = _BEGIN.format(name), _END.format(name)
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{content}\n\n{end}{after}"
    return text


def _models(top: type[BaseModel], title: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Models below one, each once, where it is met first."""
    seen: set[type[BaseModel]] = set()
    waiting = [(top, title)]
    while waiting:
        model, where = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        yield model, where
        inner = []
        for name, field in model.model_fields.items():
            key, many = field.alias or name, _is_many(field.annotation)
            for found in _inside(field.annotation):
                kind = _kind(found)
                inner.append((found, f"{'' if where == title else where + '.'}{key}{many}{kind}"))
        waiting = inner + waiting


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _inside(part)


def _is_many(annotation: Any) -> str:
    origins = {get_origin(part) for part in (annotation, *get_args(annotation))}
    return ".*" if origins & {tuple, dict, list} else ""


def _kind(model: type[BaseModel]) -> str:
    kind = model.model_fields.get("kind")
    return f" (kind: {get_args(kind.annotation)[0]})" if kind is not None and get_args(kind.annotation) else ""


def _table(model: type[BaseModel]) -> str:
    rows = []
    for name, field in model.model_fields.items():
        cells = (_cell(_type(field.annotation)), _default(field), _cell(field.description))
        rows.append(f"| `{field.alias or name}` | {' | '.join(cells)} |")
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])


def _type(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in inside))
    if origin is Annotated:
        return _type(inside[0])
    if origin is tuple:
        return f"list of {_type(inside[0])}"
    if origin is dict:
        return f"mapping to {_type(inside[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(
        getattr(annotation, "__name__", ""), str(annotation)
    )


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.default_factory is None else ""
    if isinstance(field.default, BaseModel):
        return "its defaults"
    if field.default is None:
        return "null"
    text = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    if not text:
        return "empty"
    return f"`{text}`" if len(text) <= 40 else "see the code"


def _first(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def _cell(text: str | None) -> str:
    flat = " ".join((text or "").split())
    cut = flat if len(flat) <= _LONGEST else f"{flat[:_LONGEST]}…"
    return cut if "\\|" in cut else cut.replace("|", "\\|")


def _messages(path: Path) -> Iterable[tuple[str, int]]:
    """Messages of a file's errors; what is filled in at run time becomes `…`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call) or not node.exc.args:
            continue
        name = getattr(node.exc.func, "id", "")
        message = _template(node.exc.args[0])
        if name in _ERRORS and message.replace("…", "").strip(" .:"):
            yield message, int(getattr(errors, name).exit_code)


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _template(node.left) + _template(node.right)
    return "…"
