"""Protects that precision is placement: one address on every processor, and manifests that say the difference."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.tiny import RECIPE, ROOT, overrides
from polyglossa.artifact import read_json
from polyglossa.pipeline.build import build
from polyglossa.pipeline.find_artifacts import find_artifacts
from polyglossa.recipe import load_recipe

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
ADDRESSES = """
import sys
from polyglossa.artifact import Artifact
from polyglossa.pipeline.build import build
from polyglossa.pipeline.execute import key_of
from polyglossa.recipe import load_recipe
made = {}
for name, node in build(load_recipe(sys.argv[1])).nodes.items():
    key = key_of(node, {role: made[other] for role, other in node.inputs.items()})
    made[name] = Artifact("", {"hash": key.hash})
    print(name, key.hash)
"""


def addresses(environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ADDRESSES, str(ROOT / RECIPE)],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_no_address_moves_with_the_processor() -> None:
    assert addresses({}) == addresses(AVX2) != ""


def test_what_is_left_open_and_what_is_asked_for_are_not_one_address() -> None:
    """A person who asks for float32 must not be given what a GPU has computed in bfloat16."""
    recipe, exact = load_recipe(ROOT / RECIPE), load_recipe(ROOT / RECIPE, ["evaluate.dtype=float32"])
    left, asked = (build(one).nodes["evaluate.base"].config.model_dump() for one in (recipe, exact))
    assert "dtype" not in left
    assert asked["dtype"] == "float32"


@pytest.mark.slow
def test_a_run_of_an_old_processor_says_so_in_its_manifests_and_is_taken_over_by_a_new_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "polyglossa.cli", "run", RECIPE, *overrides(str(tmp_path))]
    environment = {**os.environ, **AVX2, "PYTHONPATH": str(ROOT / "platform")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("bfloat16 is emulated there") == 1
    pairs = [argument for argument in overrides(str(tmp_path)) if argument != "--set"]
    made = find_artifacts(load_recipe(ROOT / RECIPE, pairs))
    computing = {name: one for name, one in made.items() if one.manifest["stage"] in
                 ("train", "mine", "distill", "evaluate", "serve")}  # fmt: skip
    assert len(computing) == 11
    assert {one.manifest["precision"]["dtype"] for one in computing.values()} == {"float32"}
    asked = {one.manifest["precision"]["requested"] for one in computing.values() if one.manifest["stage"] == "train"}
    assert asked == {"bfloat16"}
    assert read_json(computing["distill.base.base.stage2"].at("manifest.json"))["config"]["dtype"] == "bfloat16"
