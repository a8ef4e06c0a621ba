"""The search as an artifact: `best.yaml`, `trials.json`, `table.txt`, `journal.jsonl` and `report/tune.html`.

Inputs are what all trials share. The journal and the trials' files lie at `<root>/tune/<name>-<hash>/`, outside the
draft, so a search whose driver was killed goes on where it was when the same artifact is asked for again.
"""

import posixpath
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import ray

from polyglossa.artifact import Artifact, Draft, open_storage, read_json
from polyglossa.errors import TrainingError
from polyglossa.pipelines.tune.journal import Journal, TrialRecord
from polyglossa.pipelines.tune.judge import UNSEEN, mean_difference
from polyglossa.pipelines.tune.page import render_search
from polyglossa.pipelines.tune.plan import SearchConfig, folder_of, retrained, root_of, trial_graph
from polyglossa.pipelines.tune.propose import Values, grid, propose
from polyglossa.pipelines.tune.results import best_of, importance, pareto, stopped_share, table
from polyglossa.pipelines.tune.search import make_maker, result, run_search
from polyglossa.pipelines.tune.trials import Propose, Search, trial_folder
from polyglossa.progress import say
from polyglossa.recipe import Profile, Recipe
from polyglossa.recipe.load import dump_yaml, parse_yaml, validate
from polyglossa.recipe.trial import plain, searched_member, trial_recipe, value_at

STAGE = "tune"
REVISION = 1

_LENGTHS = ("steps", "epochs", "global_batch", "max_examples", "sources")  # fields that decide how long a trial is


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
    recipe, folder = config.whole(), folder_of(draft.uri)
    again = retrained(trial_graph(recipe, recipe, {}).nodes, list(inputs))
    if again:
        say(
            f"  trials also train {', '.join(again)}: give the student a stage of its own to share them", style="yellow"
        )
    runner = _Runner(config, recipe, profile, root_of(draft.uri), folder)
    trials = runner.search()
    best = best_of(trials)
    if best is None:
        reasons = {record.reason for record in trials if record.reason}
        raise TrainingError(f"tune: no trial finished. {' '.join(sorted(reasons))[:500]}")
    comparison = runner.compare(best)
    found = outcome(recipe, trials, best, comparison)
    _write(draft, recipe_yaml(recipe, best.values), "best.yaml")
    for record in trials:
        if record.number in found["front"]:
            _write(draft, recipe_yaml(recipe, record.values), "front", f"trial-{record.number:05d}.yaml")
    text = table(config.tune, trials, best.number, found["front"])
    _write(draft, text, "table.txt")
    _write(draft, Journal(posixpath.join(folder, "journal")).lines(), "journal.jsonl")
    draft.write_json(found, "trials.json")
    _write(draft, render_search(found), "report", "tune.html")
    say(text)
    say(f"best recipe: {draft.at('best.yaml')}   report: {draft.at('report', 'tune.html')}")
    draft.count(**found["figures"])


class _Runner:
    """Runs searches over one recipe."""

    def __init__(self, config: SearchConfig, recipe: Recipe, profile: Profile, root: str, folder: str) -> None:
        self._config, self._recipe, self._profile = config, recipe, profile
        self._root, self._folder = root, folder
        self._stage = recipe.member(searched_member(recipe)).stages[-1]

    def search(self) -> list[TrialRecord]:
        """Run the search to its end."""
        tune = self._config.tune
        count = tune.trials if tune.searcher != "grid" else len(grid(tune.space)[: tune.trials])
        return self._run("trials", "journal", partial(propose, tune), count, tune.scheduler)

    def compare(self, best: TrialRecord) -> dict[str, Any] | None:
        """Train the winner and the recipe as it is with new seeds, on the same footing, and compare what is unseen."""
        seeds = self._config.tune.seeds
        if not seeds or not best.values:
            return None
        path = f"training.{self._stage}.seed"
        points = [{**values, path: seed} for seed in seeds for values in ({}, best.values)]
        trials = self._run("seeds", "journal-seeds", _listed(points), len(points), "none")
        failed = [record for record in trials if record.state != "finished"]
        if failed:
            return {"failed": f"seed {failed[0].values[path]}: {failed[0].reason}"}
        samples = [read_json(f"{trial_folder(f'{self._folder}/seeds', one.number)}/samples.json") for one in trials]
        return comparison(seeds, trials, samples, resamples=max(1000, self._config.tune.judge.resamples))

    def _run(self, place: str, journal: str, propose: Propose, count: int | None, scheduler: str) -> Any:
        folder = posixpath.join(self._folder, place)
        noted = Journal(posixpath.join(self._folder, journal))
        maker = make_maker({"config": self._config, "profile": self._profile, "root": self._root, "folder": folder})
        try:
            total, most = self._lengths(maker)
            run_search(
                Search(
                    config=self._config.tune,
                    placement=self._profile.tune,
                    folder=folder,
                    check=self._check,
                    scheduler=scheduler,
                    most_steps=most,
                    first_rung=self._config.tune.rungs.first or max(1, total // 8),
                ),
                noted,
                maker,
                propose,
                trials=count,
            )
        finally:
            ray.kill(maker)
        return noted.trials()

    def _check(self, values: Values) -> None:
        trial_recipe(self._recipe, values)

    def _lengths(self, maker: Any) -> tuple[int, int]:
        """Steps of the recipe as it is, and of the longest trial of the space."""
        axes = {path: axis for path, axis in self._config.tune.space.items() if path.rpartition(".")[2] in _LENGTHS}
        points = [dict(zip(axes, point, strict=True)) for point in product(*(axis.probes for axis in axes.values()))]
        steps = [result(maker.total_steps.remote(values)) for values in [{}, *points]]
        return steps[0], max(steps)


def _listed(points: Sequence[Values]) -> Propose:
    return lambda number, known: points[number] if number < len(points) else None


def comparison(
    seeds: Sequence[int], trials: Sequence[TrialRecord], samples: Sequence[Mapping[str, Any]], *, resamples: int
) -> dict[str, Any]:
    """Sum up pairs of trials, the recipe as it is and the winner, seed by seed.

    Args:
        seeds: in order.
        trials: two a seed.
        samples: their scores of every query, by part.
        resamples: of the bootstrap.
    """
    part = UNSEEN if samples[0][UNSEEN] else "search"
    before, after = ([one[part] for one in samples[offset::2]] for offset in (0, 1))
    mean, low, high = mean_difference(after, before, resamples=resamples)
    key = "unseen" if part == UNSEEN else "score"
    scores = [(record.last or {})[key] for record in trials]
    return {
        "part": part,
        "seeds": list(seeds),
        "recipe": scores[::2],
        "best": scores[1::2],
        "difference": mean,
        "low": low,
        "high": high,
    }


def outcome(
    recipe: Recipe, trials: Sequence[TrialRecord], best: TrialRecord, compared: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Gather everything that table, page and manifest say."""
    assert recipe.tune is not None
    own = {path: value_at(recipe, path) for path in recipe.tune.space}
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
        "space": recipe.tune.model_dump(mode="json", by_alias=True, exclude_none=True)["space"],
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
