"""What mined negatives bring: the same training with mined and with random ones, equal steps, several seeds.

    python jobs/bench/studies/mined.py  # make bench-mined: code, 60 steps, three seeds
    python jobs/bench/studies/mined.py jobs/recipes/real-small-mine.yaml  # questions in ten languages, real text
    python jobs/bench/studies/mined.py jobs/recipes/quickstart.yaml  # any recipe as it is

Both arms go through the same stages; random negatives are what the miner fills in where every candidate is refused
(`mine: {max_score: -2, short: fill}`). Queries and metric are those of the recipe's held-out searches. What is trained
is the first member's last stage. The last line is one JSON object.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from polyglossa.cli.command import errors_in_one_line
from polyglossa.pipeline.build import build
from polyglossa.pipeline.graph import Node
from polyglossa.pipeline.run import make
from polyglossa.recipe import Profile, load_profile, load_recipe
from polyglossa.recipe.sections.evaluate import EvaluateConfig

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart-mine.yaml"
ARMS: Mapping[str, tuple[str, ...]] = {
    "mined": (),
    "random": ("mine.max_score=-2.0", "mine.short=fill"),
}


def main() -> None:
    """Train both arms with every seed and compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", nargs="?", type=Path, default=RECIPE, help="recipe file (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE", help="override one value")
    parser.add_argument("--profile", type=Path, help="placement profile (YAML); default: local")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    with errors_in_one_line("bench/mined.py"):
        scores = {
            arm: [_trained(options, [*options.set, *changes], seed) for seed in range(options.seeds)]
            for arm, changes in ARMS.items()
        }
    print(json.dumps({"steps": options.steps, "seeds": options.seeds, **compare(scores)}))


def _trained(options: argparse.Namespace, overrides: list[str], seed: int) -> dict[str, float]:
    """Train one arm with one seed; returns the main score of each held-out search."""
    stage = load_recipe(options.recipe, overrides).members[0].stages[-1]
    settings = [f"training.{stage}.seed={seed}", f"training.{stage}.steps={options.steps}"]
    recipe = load_recipe(options.recipe, [*overrides, *settings])
    profile: Profile = load_profile(options.profile)
    name = f"evaluate.{recipe.members[0].name}"
    *before, judged = build(recipe).needed_for([name])
    summary = make(recipe, profile, [*before, _searches_alone(judged)])[name].read_json("summary.json")
    return {search: task["mean"] for search, task in summary["tasks"].items() if task["type"] == "Retrieval"}


def _searches_alone(node: Node) -> Node:
    """Leave the tasks of an evaluation out that are not read here; what was made before it stays the recipe's."""
    assert isinstance(node.config, EvaluateConfig)
    config = node.config
    searches = [task.name for task in config.local if task.kind == "retrieval"]
    return replace(node, config=config.restricted_to([*config.heldout, *config.tasks, *searches]))


def compare(scores: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Mean and spread of each arm by search, and what mining adds.

    Args:
        scores: arm → scores by search, one dict a seed.
    """
    figures: dict[str, Any] = {}
    for search in scores["mined"][0]:
        found = {arm: [one[search] for one in runs] for arm, runs in scores.items()}
        means = {arm: statistics.fmean(values) for arm, values in found.items()}
        figures[search] = {
            **{arm: [round(value, 4) for value in values] for arm, values in found.items()},
            "mined_minus_random": round(means["mined"] - means["random"], 4),
            "worst_mined_minus_best_random": round(min(found["mined"]) - max(found["random"]), 4),
        }
    return figures


if __name__ == "__main__":
    main()
