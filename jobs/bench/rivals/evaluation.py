"""What `polyglossa evaluate` is compared with: mteb over sentence-transformers, as its own guide would write it.

    python jobs/bench/rivals/evaluation.py RECIPE MODEL_DIRECTORY [--set A.B.C=VALUE]

The tasks are those of the recipe's `evaluate.local`; nothing else here is ours. The last line is one JSON object:
score by task and subset.
"""

import argparse
import json
from pathlib import Path

import mteb
from sentence_transformers import SentenceTransformer

from polyglossa.evaluate.plan import place_paths
from polyglossa.evaluate.tasks.file_lists import survey_local
from polyglossa.evaluate.tasks.from_files import build_local
from polyglossa.recipe import load_recipe


def main() -> None:
    """Judge the directory by every local task and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("model")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    evaluate = load_recipe(options.recipe, options.set).evaluate
    model = SentenceTransformer(options.model, device="cpu")
    scores: dict[str, dict[str, float]] = {}
    for local in (place_paths(task, evaluate.data) for task in evaluate.local):
        task = build_local(local, list(survey_local(local).rows))
        ran = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
        rows = ran.task_results[0].scores["test"]
        scores[local.name] = {row["hf_subset"]: row["main_score"] for row in rows}
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
