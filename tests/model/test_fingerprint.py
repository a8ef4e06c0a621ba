"""A fingerprint holds everything that changes a vector: every value of every file of a model directory is perturbed."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from model.family_models import CONFIGS, save_sentence_transformer, word_tokenizer
from polyglossa.errors import PolyglossaError
from polyglossa.model.encoder import Encoder

TEXTS = ["house tree", "moon", "River CLOUD bird", "", "house " * 60]
_UNREAD = {"tokenizer_config.json", "README.md", "config_sentence_transformers.json"}


@pytest.fixture(scope="module", params=["qwen3", "gemma2", "bert"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pooling = "mean" if request.param == "bert" else "lasttoken"
    path = save_sentence_transformer(
        tmp_path_factory.mktemp(request.param), CONFIGS[request.param](), word_tokenizer(before="<s>", behind="</s>"),
        pooling=pooling, dense=(16,), prompts={"query": "house "},
    )  # fmt: skip
    return Path(path)


def outcome(folder: Path) -> tuple[str, np.ndarray] | None:
    """Fingerprint and vectors of a model directory; None where it is refused."""
    try:
        encoder = Encoder.load(str(folder))
        bare = encoder.encode(TEXTS)
        prompted = encoder.encode(TEXTS, prompt="query") if "query" in encoder.prompts else bare
    except PolyglossaError:
        return None
    except BaseException as error:  # transformers' validators and the tokenizers' Rust panics are of no common kind
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        return None
    return encoder.fingerprint, np.concatenate([bare, prompted])


def perturbed(value: Any) -> Any:
    """Another value of the same type; None where there is none."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.5 + 0.25
    if isinstance(value, str):
        return {"mean": "max", "lasttoken": "cls", "gelu": "relu", "silu": "gelu"}.get(value, f"{value} moon")
    return None


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every scalar of a JSON value with its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))
    if not isinstance(value, dict | list):
        yield path, value


def variants(folder: Path) -> Iterator[tuple[str, Path, bytes]]:
    """Every perturbation of every JSON file: what it is, the file, its new content."""
    for file in sorted(folder.rglob("*.json")):
        content = json.loads(file.read_text())
        found = list(leaves(content))
        if file.name == "tokenizer.json":  # its vocabulary is long and alike
            found = [(path, value) for path, value in found if path[:2] != ("model", "vocab")][:60]
        for path, value in found:
            other = perturbed(value)
            if other is None:
                continue
            changed = json.loads(file.read_text())
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = other
            yield f"{file.relative_to(folder)}: {path} = {other!r}", file, json.dumps(changed).encode()


def test_whatever_changes_a_vector_changes_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    base = outcome(folder)
    assert base is not None
    moved, silent = 0, []
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for label, file, content in variants(folder):
        target = copy / file.relative_to(folder)
        target.write_bytes(content)
        found = outcome(copy)
        target.write_bytes(file.read_bytes())
        if found is None:
            continue
        same = found[1].shape == base[1].shape and np.array_equal(found[1], base[1])
        moved += not same
        if not same and found[0] == base[0]:
            silent.append(label)
    assert not silent
    assert moved > 5


def test_every_weight_is_part_of_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    base = outcome(folder)
    assert base is not None
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for file in sorted(copy.rglob("*.safetensors")):
        weights = load_file(file)
        for name in weights:
            if "pooler" in name:  # no embedding reads it
                continue
            changed = {**weights, name: weights[name] + np.float32(1e-3)}
            save_file(changed, file, metadata={"format": "pt"})
            found = outcome(copy)
            assert found is not None
            assert found[0] != base[0], name
        save_file(weights, file, metadata={"format": "pt"})


def test_a_copy_elsewhere_has_the_same_fingerprint(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    base, again = outcome(folder), outcome(tmp_path / "copy")
    assert base is not None
    assert again is not None
    assert base[0] == again[0]
    np.testing.assert_array_equal(base[1], again[1])
