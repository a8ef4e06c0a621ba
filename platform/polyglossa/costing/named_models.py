"""Measure a model that a recipe names, without its weights: its configuration, and the headers of its files.

A plan counts in shapes of Qwen3; another architecture is counted as the Qwen3 of its width, depth and heads whose
matrices have as many entries, so that products, activations and bytes are those of the model.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from polyglossa.errors import DataError
from polyglossa.recipe.sections.backbone import Shape

_HIDDEN = ("hidden_size", "dim", "d_model", "n_embd")
_LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
_HEADS = ("num_attention_heads", "n_heads", "n_head", "num_heads")
"""What architectures call their width, depth and heads."""
_LEFT_OUT = ("lm_head.",)


@dataclass(frozen=True)
class NamedModel:
    """What is counted of a model."""

    shape: Shape
    """A Qwen3 of as many entries in its matrices; the model's own where it is one."""
    parameters: int
    vocabulary: int
    """Rows of the embedding table."""
    table: int
    """Entries of the embedding table."""


@lru_cache(maxsize=64)
def measure_model(name: str, revision: str | None = None) -> NamedModel | None:
    """Measure a model in a directory or in the hub's cache; None where it is in neither, or says too little of itself.

    Nothing is fetched.

    Raises:
        DataError: its files cannot be read.
    """
    folder = _folder_of(name, revision)
    if folder is None:
        return None
    tensors = tensor_shapes(folder)
    config = _config(folder)
    hidden, layers, heads = (_first(config, keys) for keys in (_HIDDEN, _LAYERS, _HEADS))
    if not tensors or hidden is None or not layers or not heads:
        return None
    tables = [shape for key, shape in tensors.items() if len(shape) == 2 and not is_block_matrix(key, shape)]
    table = max(tables, key=math.prod, default=[0, hidden])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head_dim = int(config.get("head_dim") or hidden // heads)
    entries = sum(math.prod(shape) for key, shape in tensors.items() if is_block_matrix(key, shape))
    attention = hidden * head_dim * (2 * heads + 2 * kv_heads)
    shape = Shape(
        hidden=hidden,
        mlp=max(8, round((entries / layers - attention) / (3 * hidden))),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads if heads % kv_heads == 0 else heads,
        head_dim=head_dim,
    )
    return NamedModel(shape, sum(map(math.prod, tensors.values())), table[0], math.prod(table))


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """Shape of every tensor in a directory's safetensors files, by their headers; heads that write tokens left out.

    Raises:
        DataError: a file is no safetensors file.
    """
    return {key: shape for file in sorted(folder.rglob("*.safetensors")) for key, shape in _header(file).items()}


def is_block_matrix(key: str, shape: list[int]) -> bool:
    """Tell a matrix that tokens are multiplied with inside a block: one behind a number in its name."""
    return key.endswith(".weight") and len(shape) == 2 and any(part.isdigit() for part in key.split("."))


def _header(file: Path) -> dict[str, list[int]]:
    try:
        with file.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > file.stat().st_size:
                raise ValueError(f"its header says that it is {size} bytes long")
            header = json.loads(stream.read(size))
        return {
            key: entry["shape"]
            for key, entry in header.items()
            if key != "__metadata__" and not key.startswith(_LEFT_OUT)
        }
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: is no safetensors file ({error}).") from None


def is_path(name: str) -> bool:
    """Tell what can only be a directory, not a name on the hub."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def _folder_of(name: str, revision: str | None) -> Path | None:
    if Path(name).is_dir():
        return Path(name)
    if is_path(name):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _config(folder: Path) -> Mapping[str, Any]:
    """Read the configuration of a model's text part; empty where it has none."""
    file = next(iter(sorted(folder.rglob("config.json"), key=lambda path: len(path.parts))), None)
    if file is None:
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: is no JSON ({error}).") from None
    text = config.get("text_config") if isinstance(config, dict) else None
    return text if isinstance(text, dict) else config if isinstance(config, dict) else {}


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((int(config[key]) for key in keys if isinstance(config.get(key), int)), None)
