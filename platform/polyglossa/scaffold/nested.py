"""Find rows, and their texts, that lie deeper in a JSON file than a reader looks, and write the jq program for them."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_KEYED = 20  # an object of so many values of one kind is a list with names
_DEEPER = 20  # times: rows with two texts of their own may still be headings of so many rows each
_LOOKED_AT = 300
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Row = dict[str, Any]


@dataclass(frozen=True)
class Inside:
    """Rows inside a value."""

    program: str
    """For jq: yields an object a row, from the value."""
    rows: int
    columns: tuple[str, ...]


def rows_inside(value: object) -> Inside | None:
    """Find the rows that a value wraps: under keys, in an object by id, in lists of lists; None: there are none.

    Texts that stand beside a list of rows go into each of them: the context of questions, the heading of a chapter.
    """
    found = max(_inside([value]), key=lambda inside: inside.rows, default=None)
    if found is None or found.rows < 2:
        return None
    return Inside(_from_here(found.program), found.rows, found.columns)


def flatten_program(rows: Sequence[Row]) -> str | None:
    """Write the jq program that makes columns of the texts inside a row's objects; None where no object has any."""
    fields = [(name, _path_to_text(name, rows)) for name in dict.fromkeys(name for row in rows for name in row)]
    if not any(path is not None and path != _step(name) for name, path in fields):
        return None
    made = ", ".join(f"{_key(name)}: {path}" for name, path in fields if path is not None)
    return f"{{{made}}}"


def _inside(values: Sequence[object]) -> Iterator[Inside]:
    """Rows inside values that stand in the same place, one candidate a way down."""
    objects = [value for value in values if isinstance(value, dict)]
    items = [item for value in values if isinstance(value, list) for item in value]
    if items and all(isinstance(item, dict) for item in items):
        yield from _of_list(items)
    elif (keyed := [inner for one in objects for inner in one.values()]) and len(keyed) >= _KEYED * len(objects):
        if all(isinstance(inner, str) for inner in keyed):
            yield Inside("to_entries[] | {query: .key, positive: .value}", len(keyed), ("query", "positive"))
        elif all(isinstance(inner, dict) for inner in keyed):
            yield from _of_list(keyed)
    else:
        for name in dict.fromkeys(name for one in objects for name in one):
            for inner in _inside([one[name] for one in objects if name in one]):
                yield Inside(_after(_step(name), inner.program), inner.rows, inner.columns)


def _of_list(rows: list[Row]) -> Iterator[Inside]:
    """The objects of a list: rows themselves, or what is around rows."""
    names = tuple(dict.fromkeys(name for row in rows[:_LOOKED_AT] for name in row))
    texts = [name for name in names if all(isinstance(row.get(name), str | None) for row in rows)]
    deeper = max(_inside(rows), key=lambda inside: inside.rows, default=None)
    enough = len(rows) * (_DEEPER if len(texts) > 1 else 1)
    if deeper is not None and deeper.rows > enough:
        kept = ", ".join(f"{_key(name)}: {_step(name)}" for name in texts)
        program = f"{{{kept}}} + ({_from_here(deeper.program)})" if texts else deeper.program
        yield Inside(_after("[]", program), deeper.rows, (*texts, *deeper.columns))
    elif any(_text_in(value) for row in rows[:_LOOKED_AT] for value in row.values()):
        flat = flatten_program(rows[:_LOOKED_AT]) if len(texts) < 2 else None
        yield Inside(_after("[]", flat) if flat else "[]", len(rows), names)


def _after(step: str, program: str) -> str:
    """What a program does with what a step finds: one path where it goes on with one, else a pipe."""
    return f"{step}{program}" if program.startswith((".", "[")) else f"{step} | {program}"


def _from_here(program: str) -> str:
    return f".{program}" if program.startswith("[") else program


def _path_to_text(name: str, rows: Sequence[Row]) -> str | None:
    """Path from a row to a column's texts: its own, or the longest inside its objects."""
    values = [row[name] for row in rows if row.get(name) is not None]
    if not any(_holds_object(value) for value in values):
        return _step(name) if values else None
    in_list = any(isinstance(value, list) for value in values)
    objects = [one for value in values for one in (value if isinstance(value, list) else [value])]
    lengths: dict[str, int] = {}
    for one in objects:
        for key, text in one.items() if isinstance(one, dict) else ():
            if isinstance(text, str):
                lengths[key] = lengths.get(key, 0) + len(text)
    if not lengths:
        return None
    return f"{_step(name)}{'[]' if in_list else ''}{_step(max(lengths, key=lambda key: lengths[key]))}"


def _holds_object(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))


def _text_in(value: object) -> bool:
    """Whether a value is a text, or holds one at once inside it."""
    parts = value if isinstance(value, list) else [value]
    texts = (text for part in parts for text in (part.values() if isinstance(part, dict) else [part]))
    return any(isinstance(text, str) for text in texts)


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _step(name: str) -> str:
    return f".{_key(name)}"
