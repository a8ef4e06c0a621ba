"""Tell whether a folder holds a model that a replica could load, from its small files and the heads of its weights."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import MODEL_MAPPING, AutoConfig

from polyglossa.artifact import exists
from polyglossa.errors import DataError
from polyglossa.folders import local_folder

_NEEDED = ("model_type", "hidden_size", "vocab_size", "max_position_embeddings")
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
        config = _json(uri, Path(folder, "config.json"))
        missing = [name for name in _NEEDED if not config.get(name)]
        if missing:
            raise DataError(f"{uri}: config.json lacks {', '.join(missing)}; no language model of transformers.")
        _check_architecture(uri, folder)
        _check_tokenizer(uri, Path(folder, "tokenizer.json"))
        _check_weights(uri, Path(folder))


def _check_architecture(uri: str, folder: str) -> None:
    try:
        known = type(AutoConfig.from_pretrained(folder)) in MODEL_MAPPING
    except (ValueError, OSError) as error:
        raise DataError(f"{uri}: config.json cannot be used ({_line(error)}).") from None
    if not known:
        raise DataError(f"{uri}: transformers has no model for the config.json.")


def _check_tokenizer(uri: str, file: Path) -> None:
    if not file.is_file():
        raise DataError(f"{uri}: lacks tokenizer.json, which is all that is read of a tokenizer.")
    try:
        Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust code raises plain exceptions
        raise DataError(f"{uri}: tokenizer.json is no tokenizer ({_line(error)}).") from None


def _check_weights(uri: str, folder: Path) -> None:
    names = [_WEIGHTS]
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
                with safe_open(folder / name, "numpy"):
                    pass
            except (SafetensorError, OSError) as error:
                raise DataError(f"{uri}: {name} cannot be read ({_line(error)}).") from None


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
