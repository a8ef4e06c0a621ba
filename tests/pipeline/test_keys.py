"""Protects finished runs: a rename or a move changes no artifact's key, so nothing is made again for it.

`keys.json` holds a hash of what the quickstart puts into each key; only a change of results may rewrite it.
"""

import hashlib
import json
from pathlib import Path

from polyglossa.pipeline.build import build
from polyglossa.recipe import load_recipe

ROOT = Path(__file__).parents[2]
STEPS = ["training.stage1.steps=260", "training.stage2.steps=100", "members.small.steps=80"]  # when they were written
KEYS: dict[str, str] = json.loads(Path(__file__).with_name("keys.json").read_text(encoding="utf-8"))


def test_keys_of_the_quickstart_are_those_that_finished_runs_have() -> None:
    assert keys_of(ROOT / "jobs/recipes/quickstart.yaml", STEPS) == KEYS


def keys_of(recipe: Path, overrides: list[str]) -> dict[str, str]:
    """Hash what shapes each node's artifact; revisions apart, which are raised where results change."""
    return {
        node.name: hashlib.sha256(
            json.dumps([node.stage, node.config.model_dump(mode="json", by_alias=True), node.inputs], sort_keys=True)
            .encode()
        ).hexdigest()[:16]
        for node in build(load_recipe(recipe, overrides)).nodes.values()
    }  # fmt: skip
