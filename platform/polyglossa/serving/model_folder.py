"""Tell whether a folder holds a model that a replica could load, from its small files and the heads of its weights."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import PretrainedConfig

from polyglossa.artifact import exists
from polyglossa.errors import DataError
from polyglossa.model.directory import describe_directory
from polyglossa.model.tokenizer_folder import load_directory_tokenizer
from polyglossa.storage import local_folder

_WEIGHTS = "model.safetensors"


def check_model_folder(uri: str) -> None:
    """Refuse a folder that is no model directory.

    Args:
        uri: on any storage; of a remote one, weights are looked for and not fetched.

    Raises:
        DataError: one line that says what is missing or unreadable.
    """
    if not exists(f"{uri}/config.json"):
        raise DataError(f"{uri}: no model directory (it holds config.json).")
    with local_folder(uri, weights=False) as folder:
        _json(uri, Path(folder, "config.json"))
        _, config = describe_directory(folder)
        load_directory_tokenizer(folder)
        _check_weights(uri, Path(folder), config)


def _check_weights(uri: str, folder: Path, config: PretrainedConfig) -> None:
    names, shapes = [_WEIGHTS], set[tuple[int, ...]]()
    if not exists(f"{uri}/{_WEIGHTS}"):
        index = folder / f"{_WEIGHTS}.index.json"
        if not index.is_file():
            raise DataError(f"{uri}: lacks {_WEIGHTS}; other formats of weights are not read.")
        names = sorted(set(_json(uri, index).get("weight_map", {}).values()))
    for name in names:
        if not exists(f"{uri}/{name}"):
            raise DataError(f"{uri}: lacks {name}, which its index of weights names.")
        if (folder / name).is_file():
            try:
                with safe_open(folder / name, "numpy") as weights:
                    tensors = weights.keys()
                    shapes |= {tuple(weights.get_slice(tensor).get_shape()) for tensor in tensors}
            except (SafetensorError, OSError) as error:
                raise DataError(f"{uri}: {name} cannot be read ({_line(error)}).") from None
    table = (int(config.vocab_size), int(config.hidden_size))
    if shapes and table not in shapes:
        raise DataError(f"{uri}: holds no table of {table[0]} × {table[1]}, which its config.json says.")


def _json(uri: str, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{uri}: {file.name} is not JSON ({_line(error)}).") from None
    if not isinstance(found, dict):
        raise DataError(f"{uri}: {file.name} is no JSON object.")
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
