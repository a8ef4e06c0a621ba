"""Protects the reference recipes whole: at the tiny scale all eight members go through every stage, on two cores."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MEMBERS = {"14b", "8b", "4b", "1.7b", "0.6b", "330m", "160m", "80m"}
MINUTES = 15


def run(name: str, storage: Path, *more: str) -> Path:
    """Run a recipe at the tiny scale; its folder."""
    done = subprocess.run(
        [
            sys.executable, "-m", "polyglossa.cli", "run", f"jobs/recipes/{name}.yaml", "--set", "scale=tiny",
            "--set", f"storage={storage}", "--profile", "cluster/profiles/driver.yaml", *more,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        capture_output=True,
        text=True,
        timeout=MINUTES * 60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return storage / f"{name}-tiny"


def trained_and_stages(root: Path) -> tuple[set[str], set[str]]:
    """Members that were trained, and stages that made something."""
    manifests = [json.loads(path.read_text()) for path in root.rglob("manifest.json")]
    trained = {manifest["name"] for manifest in manifests if manifest["stage"] == "train"}
    members = {name.removeprefix("train.").rpartition(".")[0] for name in trained}
    return members, {manifest["stage"] for manifest in manifests}


MERGED = {"corpus", "backbone", "pack", "train", "mine", "prune", "distill", "merge"}


def test_the_scaled_down_recipe_ends_with_eight_judged_and_served_members(tmp_path: Path) -> None:
    root = run("f2llm-v2", tmp_path)
    members, stages = trained_and_stages(root)
    assert members == MEMBERS
    assert stages >= MERGED | {"evaluate", "report", "serve"}
    results: dict[str, Any] = json.loads((root / "results.json").read_text())
    assert set(results["members"]) == MEMBERS
    check = json.loads(next(root.rglob("check.json")).read_text())
    assert set(check["least_cosine"]) == MEMBERS
    assert min(check["least_cosine"].values()) >= 0.999  # served in bfloat16


@pytest.mark.parametrize(("name", "until"), [("f2llm-v2-improved", "merge"), ("f2llm-v2-stage2", "report")])
def test_the_scaled_down_variant_ends_with_eight_members(name: str, until: str, tmp_path: Path) -> None:
    """Beyond that they do as the published recipe does."""
    root = run(name, tmp_path, "--until", until)
    members, stages = trained_and_stages(root)
    assert members == MEMBERS
    assert stages >= MERGED
    merged = {path.name.partition(".")[2].rpartition("-")[0] for path in root.glob("artifacts/merge/*")}
    assert merged == MEMBERS
    if until == "report":
        assert set(json.loads((root / "results.json").read_text())["members"]) == MEMBERS


def test_the_scaled_down_ml_embed_trains_exits_and_a_low_rank_table_and_ends_as_a_stock_model(tmp_path: Path) -> None:
    root = run("ml-embed", tmp_path, "--until", "report")
    (trained,) = root.glob("artifacts/train/*/manifest.json")
    stage = json.loads(trained.read_text())["config"]["stage"]
    assert (stage["objective"]["layer_exits"], stage["embedding_rank"], stage["embedding_ranks"]) == (
        True, 16, "published",
    )  # fmt: skip
    steps = [json.loads(line) for line in (trained.parent / "metrics.jsonl").read_text().splitlines()]
    assert all("exits" in step["terms"] for step in steps)
    assert steps[0]["learning_rate"] == 0.0
    assert set(json.loads((root / "results.json").read_text())["members"]) == {"0.6b"}
    summary = json.loads(next(root.glob("artifacts/evaluate/*/summary.json")).read_text())
    assert summary["judged_as"]["model"] == "codefuse-ai/F2LLM-v2-0.6B"
