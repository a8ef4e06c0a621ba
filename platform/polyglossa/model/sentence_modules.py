"""Read and write sentence-transformers' files: pooling, dense layers, normalisation, prompts.

Whatever those files may say and this path does not compute is refused; nothing is approximated.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyglossa.errors import DataError
from polyglossa.model.dense import Dense, dense_config, read_dense, write_dense
from polyglossa.model.description import ModelDescription
from polyglossa.model.model_files import find_file, join, read_json_file
from polyglossa.model.pooling import POOLINGS
from polyglossa.model.tokenizer_folder import SETTINGS, TRANSFORMER, read_transformer, stored_prompts


@dataclass(frozen=True)
class SentenceModules:
    """What follows a backbone, and what goes before it."""

    backbone_folder: str = ""
    """Where in the model directory the backbone lies."""
    pooling: tuple[str, ...] | None = None
    """None where the directory says nothing."""
    dense: tuple[Dense, ...] = ()
    normalise: bool = True
    similarity: str = "cosine"
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_tokens: int | None = None
    """Longest text; None leaves it to the tokenizer."""
    lower_case: bool = False
    """Whether texts are lower-cased before anything else."""
    declared: bool = False
    """Whether the model is a sentence-transformers model: its tokenizer is then complete as it is."""


def read_modules(path: str, *, revision: str | None = None) -> SentenceModules:
    """Read what follows a model's backbone.

    Args:
        path: local directory or hub name.
        revision: commit on the hub.

    Raises:
        DataError: a module, a pooling or a setting of them is not known, or a dense layer fits no state.
    """
    modules = read_json_file(path, "modules.json", revision=revision)
    settings = read_json_file(path, SETTINGS, revision=revision) or {}
    prompts = stored_prompts(settings)
    if modules is None:
        return SentenceModules(prompts=prompts, default_prompt=settings.get("default_prompt_name"))
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    _check_order(path, kinds)
    folder = str(modules[0].get("path") or "")
    transformer = read_transformer(path, folder, revision)
    pooling, width = _read_pooling(path, modules[1]["path"], prompts, revision)
    dense: list[Dense] = []
    for module, kind in zip(modules[2:], kinds[2:], strict=True):
        if kind == "Dense":
            dense.append(_read_dense(path, module["path"], dense[-1].shape.out_features if dense else width, revision))
    return SentenceModules(
        backbone_folder=folder,
        pooling=pooling,
        dense=tuple(dense),
        normalise=kinds[-1] == "Normalize",
        similarity=str(settings.get("similarity_fn_name") or "cosine"),
        prompts=prompts,
        default_prompt=settings.get("default_prompt_name"),
        max_tokens=transformer.get("max_seq_length"),
        lower_case=bool(transformer.get("do_lower_case")),
        declared=True,
    )


def _check_order(path: str, kinds: Sequence[str]) -> None:
    middle = kinds[2:-1] if kinds[-1] == "Normalize" else kinds[2:]
    if list(kinds[:2]) != ["Transformer", "Pooling"] or set(middle) - {"Dense"}:
        raise DataError(
            f"{path}: its modules are {', '.join(kinds)}; known are Transformer, Pooling, any number of Dense, and "
            "Normalize, in this order."
        )


def _read_pooling(
    path: str, folder: str, prompts: Mapping[str, str], revision: str | None
) -> tuple[tuple[str, ...], int]:
    config = read_json_file(path, join(folder, "config.json"), revision=revision)
    if config is None:
        raise DataError(f"{path}: {folder}/config.json is missing, so its pooling is not known.")
    modes = config.get("pooling_mode")
    if modes is None:
        pooling = tuple(name for name, one in POOLINGS.items() if one.stock_key and config.get(one.stock_key)) or (
            "mean",
        )
    else:
        given = (modes,) if isinstance(modes, str) else tuple(modes)
        ours = {_written_name(name): name for name in POOLINGS}
        unknown = [mode for mode in given if mode not in ours]
        if unknown:
            raise DataError(f"{path}: pooling {unknown[0]!r} is not known; known are {', '.join(ours)}.")
        pooling = tuple(ours[mode] for mode in given)
    if not config.get("include_prompt", True) and pooling != ("last",) and any(prompts.values()):
        raise DataError(f"{path}: leaves the prompt out of the pooled text (include_prompt), which is not known here.")
    width = int(config.get("embedding_dimension") or config["word_embedding_dimension"])
    return pooling, width * len(pooling)


def _read_dense(path: str, folder: str, width: int, revision: str | None) -> Dense:
    config = read_json_file(path, join(folder, "config.json"), revision=revision)
    if config is None:
        raise DataError(f"{path}: {folder}/config.json is missing, so its dense layer is not known.")
    weights = find_file(path, join(folder, "model.safetensors"), revision=revision)
    return read_dense(weights.parent if weights else Path(path, folder), config, width)


def write_modules(root: Path, description: ModelDescription, dense: Sequence[Dense], *, max_tokens: int) -> None:
    """Write what follows a backbone, in a form that every release of sentence-transformers since 2.0 reads.

    Args:
        root: model directory.
        description: pooling, normalisation, prompts.
        dense: layers behind the pooling.
        max_tokens: longest text (tokens, special ones included).
    """
    folders = ["", "1_Pooling", *(f"{index}_Dense" for index in range(2, 2 + len(dense)))]
    kinds = ["Transformer", "Pooling", *["Dense"] * len(dense)]
    if description.normalise:
        folders.append(f"{len(folders)}_Normalize")
        kinds.append("Normalize")
    modules = [
        {"idx": index, "name": str(index), "path": folder, "type": f"sentence_transformers.models.{kind}"}
        for index, (folder, kind) in enumerate(zip(folders, kinds, strict=True))
    ]
    for folder in folders[1:]:
        (root / folder).mkdir(exist_ok=True)
    write_json_file(root / "modules.json", modules)
    write_json_file(root / "1_Pooling" / "config.json", _pooling_config(description))
    for folder, layer in zip(folders[2:], dense, strict=False):
        write_json_file(root / folder / "config.json", dense_config(layer))
        write_dense(root / folder, layer)
    write_json_file(root / TRANSFORMER, {"max_seq_length": max_tokens, "do_lower_case": False})
    settings = {
        "prompts": dict(description.prompts),
        "default_prompt_name": description.default_prompt,
        "similarity_fn_name": description.similarity,
    }
    write_json_file(root / SETTINGS, settings)


def _pooling_config(description: ModelDescription) -> dict[str, Any]:
    config: dict[str, Any] = {"word_embedding_dimension": description.hidden}
    poolings = [POOLINGS[name] for name in description.pooling]
    keys = [one.stock_key for one in poolings]
    if None not in keys and description.pooling == tuple(name for name in POOLINGS if name in description.pooling):
        # Keys that older releases know; newer ones translate them.
        config |= {str(key): True for key in keys}
        config |= {"pooling_mode_mean_tokens": False} if "mean" not in description.pooling else {}
    else:
        config["pooling_mode"] = [_written_name(name) for name in description.pooling]
    return config | {"include_prompt": True}


def _written_name(name: str) -> str:
    """What a pooling is called in the file: sentence-transformers' name where it has one."""
    return POOLINGS[name].stock_name or name


def stock_names(pooling: Sequence[str]) -> list[str]:
    """Return what sentence-transformers calls poolings.

    Raises:
        DataError: it has none of a name.
    """
    names = {name: POOLINGS[name].stock_name for name in pooling}
    unknown = [name for name, theirs in names.items() if theirs is None]
    if unknown:
        raise DataError(f"pooling: sentence-transformers has no {unknown[0]!r}, so it could not read the model.")
    return [str(theirs) for theirs in names.values()]


def write_json_file(file: Path, value: Any) -> None:
    """Write a JSON file as models have them: indented, UTF-8."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
