"""`jobs/serve.py` refuses what is no model in one line and with exit code 2, before anything starts."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from polyglossa.errors import DataError
from polyglossa.serving.model_folder import check_model_folder

ROOT = Path(__file__).parents[2]


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content)


def without_setting(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        del config[name]
        (folder / "config.json").write_text(json.dumps(config))

    return change


def setting(name: str, value: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, name: value}))

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("config.json"), r"no model directory \(it holds config.json\)"),
        (holding("config.json", b"{"), "config.json is not JSON"),
        (holding("config.json", b"[1]"), "config.json is no JSON object"),
        (without_setting("hidden_size"), "which its config.json says|its weights are not those"),
        (without_setting("model_type"), "cannot be loaded as a model"),
        (setting("model_type", "foo"), "cannot be loaded as a model"),
        (without("tokenizer.json"), "its tokenizer cannot be loaded"),
        (holding("tokenizer.json", b"{}"), "its tokenizer cannot be loaded"),
        (without("model.safetensors"), "lacks model.safetensors"),
        (pickled, "other formats of weights are not read"),
        (holding("model.safetensors", b"version https://git-lfs"), "model.safetensors cannot be read"),
        (holding("model.safetensors", b""), "model.safetensors cannot be read"),
    ],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_model_is_told_by_what_is_wrong(
    models: dict[str, str], tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models["base"], folder)
    check_model_folder(str(folder))
    change(folder)
    with pytest.raises(DataError, match=message) as refused:
        check_model_folder(str(folder))
    assert "\n" not in str(refused.value)


def test_weights_in_parts_need_all_their_parts(models: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(models["base"], tmp_path / "model")
    part = tmp_path / "model/model-00001-of-00001.safetensors"
    (tmp_path / "model/model.safetensors").rename(part)
    (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": part.name}}))
    check_model_folder(str(tmp_path / "model"))
    part.unlink()
    with pytest.raises(DataError, match=f"lacks {part.name}"):
        check_model_folder(str(tmp_path / "model"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["small=/nowhere"], "/nowhere: no model directory (it holds config.json)."),
        (["small"], "--model small: write NAME=PATH, where PATH is a model directory."),
        (["=x"], "--model =x: write NAME=PATH, where PATH is a model directory."),
        (["Small=BASE"], "members.0.name: got \"Small\"."),
        (["a=BASE", "a=BASE"], "the name a is taken by"),
    ],
    ids=["no folder", "no path", "no name", "bad name", "name twice"],
)  # fmt: skip
def test_a_model_that_cannot_be_served_is_one_line_and_exit_2(
    models: dict[str, str], tmp_path: Path, given: list[str], said: str
) -> None:
    flags = [part for one in given for part in ("--model", one.replace("BASE", models["base"]))]
    command = [sys.executable, str(ROOT / "jobs/serve.py"), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "platform"), "RAY_ADDRESS": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("serve.py: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
