"""Runs the searches of one recipe: the search itself, and the comparison of its winner on new seeds.

Which proposals, which scheduler and how many trials is decided here; running them is `search.py`'s.
"""

import posixpath
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from types import TracebackType
from typing import Any, Self

from polyglossa.artifact import clear, read_json
from polyglossa.pipeline.build import stage_of
from polyglossa.recipe import Profile, Recipe
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.recipe.trial import SearchConfig, searched_member, trial_recipe, value_at
from polyglossa.tune.journal import Journal, TrialRecord
from polyglossa.tune.plan import rung_steps
from polyglossa.tune.population import stretch, whole_trials
from polyglossa.tune.propose import Later, Proposal, Values, listed, propose
from polyglossa.tune.search import MakerProcess, run_search
from polyglossa.tune.trial.files import trial_files
from polyglossa.tune.trial.score import SEARCH, UNSEEN, mean_difference
from polyglossa.tune.trials import Propose, Search, observations

_LENGTHS = ("steps", "epochs", "global_batch", "max_examples", "sources")  # fields that decide how long a trial is
_RESAMPLES = 1000  # of a comparison


class Runner:
    """Searches that share one maker; a context manager, for the maker is a process."""

    def __init__(self, config: SearchConfig, recipe: Recipe, profile: Profile, root: str, folder: str) -> None:
        """Settle where everything lies.

        Args:
            config: recipe and search.
            recipe: the recipe that is searched.
            profile: where stages and trials run.
            root: storage root.
            folder: takes journals and trials.
        """
        assert recipe.tune is not None
        self._recipe, self._tune, self._profile = recipe, recipe.tune, profile
        self._folder = folder
        self._stage = recipe.member(searched_member(recipe)).stages[-1]
        self._maker = MakerProcess(config, profile, root)

    def __enter__(self) -> Self:
        """Ask how long trials are: the first one's shared artifacts are made for it."""
        self._total, self._most = self._lengths()
        self._first = self._tune.rungs.first or max(1, self._total // 8)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the maker."""
        self._maker.close()

    def search(self) -> list[TrialRecord]:
        """Run the search to its end."""
        tune = self._tune
        if tune.scheduler == "pbt":
            return self._population()
        points = listed(tune)
        count = tune.trials if points is None else len(points)
        return self._run("trials", partial(_propose_next, tune), count, early_stopping=tune.scheduler == "asha")

    def compare(self, best: TrialRecord) -> dict[str, Any] | None:
        """Train the winner and the recipe as it is with new seeds, on the same footing, and compare what is unseen."""
        seeds = self._tune.seeds
        if not seeds or not best.values:
            return None
        path = f"training.{self._stage}.seed"
        points = [{**values, path: seed} for seed in seeds for values in ({}, best.values)]
        trials = self._run("seeds", partial(_next_point, points), len(points), early_stopping=False)
        failed = [record for record in trials if record.state != "finished"]
        if failed:
            return {"failed": f"seed {failed[0].values[path]}: {failed[0].reason}"}
        folder = posixpath.join(self._folder, "seeds")
        return comparison(seeds, trials, [read_json(trial_files(folder, one.number).samples) for one in trials])

    def _population(self) -> list[TrialRecord]:
        """Train a population; its members are the trials."""
        tune, members = self._tune, self._tune.trials or 1
        steps = (*rung_steps(self._first, tune.rungs.factor, self._total), self._total)
        given = {path: value_at(self._recipe, path) for path in tune.space}
        own = {path: value for path, value in given.items() if value is not None}

        def policy(number: int, journal: Journal) -> Proposal | Later | None:
            return stretch(tune, own, steps, number, journal.trials())

        stretches = self._run("trials", policy, members * len(steps), early_stopping=False)
        for record in stretches:
            clear(trial_files(posixpath.join(self._folder, "trials"), record.number).kept)
        return whole_trials(stretches, members)

    def _run(self, place: str, policy: Propose, count: int | None, *, early_stopping: bool) -> list[TrialRecord]:
        journal = Journal(posixpath.join(self._folder, f"{place}-journal"))
        search = Search(
            config=self._tune,
            placement=self._profile.tune,
            folder=posixpath.join(self._folder, place),
            check=self._check,
            early_stopping=early_stopping,
            most_steps=self._most,
            first_rung=self._first,
        )
        run_search(search, journal, self._maker, policy, trials=count)
        trials = journal.trials()
        for record in trials:  # a student that was stopped may have written after its trial had ended
            clear(trial_files(search.folder, record.number).training)
        return trials

    def _check(self, values: Values) -> None:
        trial_recipe(self._recipe, values)

    def _lengths(self) -> tuple[int, int]:
        """Steps of the recipe as it is, or of the first variant, and of the longest trial."""
        axes = {path: axis for path, axis in self._tune.space.items() if path.rpartition(".")[2] in _LENGTHS}
        points = [dict(zip(axes, point, strict=True)) for point in product(*(axis.probes for axis in axes.values()))]
        starts = one_of_each_length(self._recipe, self._tune.variants) or [{}, *points]
        steps = [self._maker.total_steps(values) for values in starts]
        return steps[0], max(steps)


def one_of_each_length(recipe: Recipe, variants: Sequence[Values]) -> list[Values]:
    """Of variants that take the same steps, keep the first."""
    found: dict[str, Values] = {}
    for values in variants:
        trial = trial_recipe(recipe, values)
        member = trial.member(searched_member(recipe))
        stage = stage_of(member, trial.training[member.stages[-1]])
        found.setdefault(repr([getattr(stage, field) for field in _LENGTHS]), values)
    return list(found.values())


def _propose_next(tune: TuneConfig, number: int, journal: Journal) -> Proposal | None:
    values = propose(tune, number, observations(tune, journal))
    return None if values is None else Proposal(values)


def _next_point(points: Sequence[Values], number: int, journal: Journal) -> Proposal | None:
    return Proposal(points[number]) if number < len(points) else None


def comparison(
    seeds: Sequence[int], trials: Sequence[TrialRecord], samples: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Sum up pairs of trials, the recipe as it is and the winner, seed by seed.

    Args:
        seeds: in order.
        trials: two a seed.
        samples: their scores of every query, by part.
    """
    part, key = (UNSEEN, "unseen") if samples[0][UNSEEN] else (SEARCH, "score")
    before, after = ([one[part] for one in samples[offset::2]] for offset in (0, 1))
    mean, low, high = mean_difference(after, before, resamples=_RESAMPLES)
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
