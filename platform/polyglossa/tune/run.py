"""The search as an artifact: `best.yaml`, `trials.json`, `table.txt`, `journal.jsonl` and `report/tune.html`.

Inputs are what all trials share. The journal and the trials' files lie at `<root>/tune/<name>-<hash>/`, outside the
draft, so a search whose driver was killed goes on where it was when the same artifact is asked for again.
"""

import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from polyglossa.artifact import Artifact, Draft, clear, open_storage
from polyglossa.errors import TrainingError
from polyglossa.evaluate.plan import files_fingerprint
from polyglossa.recipe import Profile, Recipe
from polyglossa.recipe.load import dump_yaml, parse_yaml, validate
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.recipe.trial import SearchConfig, judged_sets, plain, searched_member, trial_recipe, value_at
from polyglossa.runtime.console import say
from polyglossa.tune.journal import Journal, TrialRecord
from polyglossa.tune.page.render import render_search
from polyglossa.tune.plan import folder_of, retrained_stages, root_of, trial_graph
from polyglossa.tune.propose import Values
from polyglossa.tune.results import best_of, complete_values, importance, pareto, stopped_share, table

STAGE = "tune"
REVISION = 2


def run(config: SearchConfig, inputs: Mapping[str, Artifact], draft: Draft, profile: Profile) -> None:
    """Search, and write down what was found.

    Args:
        config: the recipe and its search.
        inputs: what trials share.
        draft: takes the outcome.
        profile: placement of the search and of every stage that a trial may need.

    Raises:
        TrainingError: no trial finished.
    """
    from polyglossa.tune.runner import Runner  # Ray Tune and torch, which working out the artifact's key does without

    recipe, folder = config.whole(), folder_of(draft.uri)
    again = retrained_stages(trial_graph(recipe, recipe, {}).nodes, list(inputs))
    if again:
        say(
            f"  trials also train {', '.join(again)}: give the student a stage of its own to share them", style="yellow"
        )
    with Runner(config, recipe, profile, root_of(draft.uri), folder) as runner:
        trials = runner.search()
        best = best_of(trials)
        if best is None:
            reasons = {record.reason for record in trials if record.reason}
            clear(folder)  # nothing to go on from: the same command tries them all again
            raise TrainingError(f"tune: no trial finished. {' '.join(sorted(reasons))[:500]}")
        compared = runner.compare(best)
    found = outcome(recipe, trials, best, compared)
    _write(draft, recipe_yaml(recipe, best.values), "best.yaml")
    for record in trials:
        if record.number in found["front"]:
            _write(draft, recipe_yaml(recipe, record.values), "front", f"trial-{record.number:05d}.yaml")
    text = table(config.tune, trials, best.number, found["front"])
    _write(draft, text, "table.txt")
    _write(draft, Journal(posixpath.join(folder, "trials-journal")).lines(), "journal.jsonl")
    draft.write_json(found, "trials.json")
    _write(draft, render_search(found), "report", "tune.html")
    say(text)
    say(f"best recipe: {draft.at('best.yaml')}   report: {draft.at('report', 'tune.html')}")
    draft.count(**found["figures"])


def outcome(
    recipe: Recipe, trials: Sequence[TrialRecord], best: TrialRecord, compared: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Gather everything that table, page and manifest say."""
    assert recipe.tune is not None
    own = {path: value_at(recipe, path) for path in recipe.tune.paths}
    costs = [name for name in ("parameters", "latency") if best.last and name in best.last]
    states = {state: sum(record.state == state for record in trials) for state in ("finished", "stopped", "failed")}
    assert best.last is not None
    figures = {"trials": len(trials), **states, "best": best.last["score"], "stopped_share": stopped_share(trials)}
    if compared and "difference" in compared:
        figures["gain_on_new_seeds"] = compared["difference"]
    return {
        "recipe": recipe.name,
        "member": searched_member(recipe),
        "searcher": recipe.tune.searcher,
        "scheduler": recipe.tune.scheduler,
        "space": _space(recipe.tune, own),
        "own": own,
        "trials": [
            {
                "number": record.number,
                "values": record.values,
                "state": record.state,
                "reason": record.reason,
                "rungs": record.rungs,
            }
            for record in trials
        ],
        "best": best.number,
        "front": pareto(trials, costs),
        "importance": importance(recipe.tune, trials, own),
        "comparison": compared,
        "figures": figures,
    }


def _space(tune: TuneConfig, own: Values) -> dict[str, Any]:
    """Values that each field may take, as a recipe writes them; of listed variants, a choice of what they name."""
    if tune.space:
        space: dict[str, Any] = tune.model_dump(mode="json", by_alias=True, exclude_none=True)["space"]
        return space
    values = {path: [complete_values([path], own, variant)[path] for variant in tune.variants] for path in tune.paths}
    return {path: {"choice": list({json.dumps(one): one for one in found}.values())} for path, found in values.items()}


def input_fingerprint(config: SearchConfig) -> str | None:
    """Hash the files of the tasks that trials are judged by, for the artifact's key."""
    recipe = config.whole()
    tasks = [task for task in judged_sets(recipe).values() if task is not None]
    return files_fingerprint(tasks, recipe.evaluate.data)


def recipe_yaml(recipe: Recipe, values: Values) -> str:
    """Write a trial's recipe, complete and runnable as it is.

    Raises:
        TrainingError: what was written is not what was meant.
    """
    trial = trial_recipe(recipe, values)
    text = dump_yaml(plain(trial))
    if validate(Recipe, parse_yaml(text, "best.yaml"), "best.yaml") != trial:
        raise TrainingError("tune: best.yaml does not read back as the trial's recipe.")
    return text


def _write(draft: Draft, text: str, *parts: str) -> None:
    filesystem, path = open_storage(draft.at(*parts))
    with filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())
