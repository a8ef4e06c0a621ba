"""Single files of a model, whether it is a directory or a name on the hub."""

import json
import re
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from polyglossa.errors import DataError

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def find_file(path: str, name: str, *, revision: str | None = None) -> Path | None:
    """Find a file of a model; one on the hub is fetched.

    Args:
        path: local directory or hub name.
        name: of the file, relative to the model.
        revision: commit on the hub.

    Returns:
        Its local path, or None where the model has no such file.
    """
    if Path(path).is_dir():
        file = Path(path) / name
        return file if file.is_file() else None
    if not _HUB_NAME.fullmatch(path):
        return None
    found = cached_file(
        path,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None


def join(folder: str, name: str) -> str:
    """Name a file of a module's folder; the first module may lie in the model's own."""
    return f"{folder}/{name}" if folder else name


def read_json_file(path: str, name: str, *, revision: str | None = None) -> Any:
    """Read a JSON file of a model; None where it has none.

    Raises:
        DataError: it is no JSON.
    """
    file = find_file(path, name, revision=revision)
    if file is None:
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: its {name} is no JSON ({error}).") from None
