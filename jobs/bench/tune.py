"""Measure a search: `python jobs/bench/tune.py [RECIPE] [--parts search,stopping] [--set A.B=VALUE] [--profile FILE]`.

`search` runs the recipe's own search: its seconds, how many trials stopped early, the best score, and the winner beside
the recipe as it is on new seeds. `stopping` runs as many random trials to their ends and then puts their reports before
ASHA in the order in which they came: what it would have stopped, and how near its best comes to the best of all.
What is made before the search (corpus to teacher store) is not timed. A part that is cut short goes on where it was
when it is started again. Other libraries write to `logs/bench-tune.log` of the run. The last line is one JSON object.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from polyglossa.artifact import Artifact
from polyglossa.pipeline.execute import execute
from polyglossa.recipe import Profile, load_profile, load_recipe
from polyglossa.runtime import console
from polyglossa.runtime.session import ray_session
from polyglossa.storage import absolute
from polyglossa.tune.plan import plan_nodes

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "quickstart-tune.yaml"


def main() -> None:
    """Run the parts that were asked for and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", type=Path, default=RECIPE)
    parser.add_argument("--parts", default="search,stopping")
    parser.add_argument("--set", action="append", default=[], metavar="A.B.C=VALUE")
    parser.add_argument("--profile", type=Path)
    arguments = parser.parse_args()
    profile = load_profile(arguments.profile)
    figures: dict[str, Any] = {}
    for part in arguments.parts.split(","):
        figures[part] = PARTS[part](arguments.recipe, arguments.set, profile)
    print(json.dumps(figures))


def search(recipe: Path, overrides: list[str], profile: Profile) -> dict[str, Any]:
    """Run the recipe's search."""
    found, seconds = searched(recipe, overrides, profile)
    outcome = found.read_json("trials.json")
    return {"seconds": seconds, **outcome["figures"], "comparison": outcome["comparison"]}


def stopping(recipe: Path, overrides: list[str], profile: Profile) -> dict[str, Any]:
    """Run random trials in full, and let ASHA judge their reports."""
    changed = [*overrides, "tune.searcher=random", "tune.scheduler=none", "tune.seeds=[]"]
    found, seconds = searched(recipe, changed, profile)
    outcome = found.read_json("trials.json")
    factor = load_recipe(recipe, changed).tune.rungs.factor  # type: ignore[union-attr]  # searched above
    lines = Path(found.at("journal.jsonl")).read_text(encoding="utf-8").splitlines()
    reports = [event for event in map(json.loads, lines) if event["event"] == "rung" and "failed" not in event]
    kept = survivors(reports, factor)
    scores = {trial["number"]: trial["rungs"][-1]["score"] for trial in outcome["trials"] if trial["rungs"]}
    best, kept_best = max(scores.values()), max(scores[number] for number in kept)
    return {
        "seconds_full": seconds,
        "trials": len(scores),
        "stopped_by_asha": len(scores) - len(kept),
        "best_full": best,
        "best_asha": kept_best,
        "asha_share_of_best": round(kept_best / best, 5),
    }


def searched(recipe: Path, overrides: list[str], profile: Profile) -> tuple[Artifact, float]:
    """Run a search, all that it shares made before; its artifact, and seconds of the search alone."""
    loaded = load_recipe(recipe, overrides)
    nodes, root = plan_nodes(loaded), absolute(loaded.root)
    with console.open_console(loaded.logs / "bench-tune.log"), ray_session(profile):
        execute(nodes[:-1], root, profile)
        began = time.monotonic()
        found = execute(nodes, root, profile)["tune"]
    return found, round(time.monotonic() - began, 1)


def survivors(reports: list[dict[str, Any]], factor: int) -> list[int]:
    """Numbers of the trials that ASHA lets run to their ends, told the reports in order."""
    from ray.tune.schedulers import ASHAScheduler, TrialScheduler

    class Named:
        def __init__(self, number: int) -> None:
            self.trial_id = str(number)

    last = max(report["step"] for report in reports)
    first = min(report["step"] for report in reports)
    asha = ASHAScheduler(
        time_attr="step", metric="score", mode="max", max_t=last, grace_period=first, reduction_factor=factor
    )
    trials: dict[int, Named] = {}
    stopped: set[int] = set()
    for report in reports:
        number = report["trial"]
        if number in stopped:
            continue
        if number not in trials:
            trials[number] = Named(number)
            asha.on_trial_add(None, trials[number])
        if asha.on_trial_result(None, trials[number], report) == TrialScheduler.STOP and not report["final"]:
            stopped.add(number)
    return [number for number in trials if number not in stopped]


PARTS = {"search": search, "stopping": stopping}

if __name__ == "__main__":
    main()
