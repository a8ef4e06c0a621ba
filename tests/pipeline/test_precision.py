"""Protects that precision is placement: one address on every processor; tests/pipeline/test_end_to_end.py runs it."""

import os
import subprocess
import sys

from pipeline.tiny import AVX2, RECIPE, ROOT
from polyglossa.pipeline.build import build
from polyglossa.recipe import load_recipe

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
