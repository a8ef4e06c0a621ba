"""Protects `jobs/examples/`: each runs as it says, offline, on tiny things."""

import os
import subprocess
import sys
from pathlib import Path

from library.environments import ROOT


def test_texts_are_encoded_and_compared(model: str) -> None:
    said = run("encode_texts.py", model, "Germany", "Germany", "the library")
    first, second = said.splitlines()
    assert first == " 1.000  Germany"
    assert second.endswith("  the library")


def test_a_recipe_is_planned_and_run(tmp_path: Path) -> None:
    sets = [f"storage={tmp_path}", "corpus.sources.0.pairs_per_name=1", "corpus.max_queries=300"]
    given = [item for value in sets for item in ("--set", value)]
    said = run("run_recipe.py", str(ROOT / "jobs/recipes/quickstart.yaml"), "--until", "corpus", *given)
    assert said.startswith("quickstart: 17 artifacts")
    assert f"corpus: {tmp_path}" in said


def test_a_term_that_is_added_changes_what_it_should() -> None:
    first, last = (float(line.rpartition(" ")[2]) for line in run("add_a_term.py").splitlines())
    assert last < first - 0.5


def run(example: str, *arguments: str) -> str:
    """Run one example as a person would."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs/examples" / example), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform"), "RAY_ADDRESS": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
