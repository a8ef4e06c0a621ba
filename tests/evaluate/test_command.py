"""Protects `polyglossa evaluate` as a person sees it: at once a line that says what goes on, at the end the table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyglossa.artifact import Artifact

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_evaluate_says_what_it_does_where_its_output_is_no_terminal(model: Artifact, tmp_path: Path) -> None:
    rows = [{"sentence1": f"ka ro {index}", "sentence2": f"mi {index % 5}", "score": index % 5} for index in range(20)]
    (tmp_path / "sts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {"kind": "sts", "name": "pairs", "path": str(tmp_path / "sts.jsonl")}
    recipe = ["--recipe", "jobs/recipes/quickstart.yaml", "--set", "evaluate.heldout=[]"]
    done = subprocess.run(
        [sys.executable, "-m", "polyglossa.cli", "evaluate", model.at("model"), *recipe, "--out", str(tmp_path / "out"),
         "--set", f"evaluate.local={json.dumps([task])}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("local/model: judged under")
    assert list((tmp_path / "out" / "logs").glob("*.log"))
    assert "pairs" in done.stdout
    assert last.startswith("results: ")
