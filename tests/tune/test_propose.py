"""Protects repeatable searches: a proposal is a function of the seed, the trial's number and what is known by then."""

from collections.abc import Sequence
from typing import Any

import pytest

from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.tune import TuneConfig
from polyglossa.tune.propose import Observation, Values, propose

SPACE = {
    "x": {"uniform": [-1.0, 1.0]},
    "rate": {"loguniform": [1e-4, 1e-1]},
    "layers": {"int": [1, 3]},
    "criterion": {"choice": ["l2", "variance", None]},
}


def tune(**changes: Any) -> TuneConfig:
    return validate(TuneConfig, {"space": SPACE, "trials": 30} | changes, "tune")


def score(values: Values) -> float:
    """Best at x = 0.5, criterion `variance`."""
    return 1 - (values["x"] - 0.5) ** 2 + (0.2 if values["criterion"] == "variance" else 0.0)


def searched(config: TuneConfig) -> list[Observation]:
    known: list[Observation] = []
    while (values := propose(config, len(known), known)) is not None:
        if not values:
            known.append(Observation(values, "finished", objectives=(0.0,)))
        elif len(known) % 3 == 2:
            known.append(Observation(values, "stopped", {4: score(values) - 0.1}))
        else:
            known.append(Observation(values, "finished", {4: 0.0}, (score(values),)))
    return known


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_the_same_seed_proposes_the_same_trials(searcher: str) -> None:
    config = tune(searcher=searcher, trials=12)
    first, again = searched(config), searched(config)
    assert [one.values for one in first] == [one.values for one in again]
    assert len({str(one.values) for one in first}) == 12
    other = searched(tune(searcher=searcher, trials=12, seed=1))
    assert [one.values for one in other[1:]] != [one.values for one in first[1:]]


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_a_search_taken_up_in_the_middle_proposes_what_it_would_have(searcher: str) -> None:
    config = tune(searcher=searcher, trials=14)
    known = searched(config)
    for number in (1, 7, 13):
        assert propose(config, number, known[:number]) == known[number].values


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_proposals_lie_within_the_space_and_the_first_is_the_recipe_as_it_is(searcher: str) -> None:
    first, *others = searched(tune(searcher=searcher, trials=16))
    assert first.values == {}
    for one in others:
        assert -1 <= one.values["x"] <= 1
        assert 1e-4 <= one.values["rate"] <= 1e-1
        assert one.values["layers"] in (1, 2, 3)
        assert one.values["criterion"] in ("l2", "variance", None)


def test_tpe_comes_closer_than_chance() -> None:
    def best(observations: Sequence[Observation]) -> float:
        return max(one.objectives[0] for one in observations if one.objectives)

    found = [
        best(searched(tune(searcher="optuna", seed=seed))) - best(searched(tune(searcher="random", seed=seed)))
        for seed in range(4)
    ]
    assert sum(found) > 0


def test_a_grid_is_every_combination_once() -> None:
    space = {"a": {"grid": [1, 2]}, "b": {"choice": ["x", "y", "z"]}}
    config = tune(space=space, searcher="grid", trials=None)
    values = [propose(config, number, []) for number in range(7)]
    assert values[:2] == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}]
    assert len({str(one) for one in values[:6]}) == 6
    assert values[6] is None


def test_two_objectives_are_searched_at_once() -> None:
    config = tune(searcher="optuna", objectives=["quality", "size"], trials=8)
    known: list[Observation] = []
    for number in range(8):
        values = propose(config, number, known)
        assert values is not None
        known.append(
            Observation(values, "finished", {}, (score(values), values["layers"] * 100.0) if values else (0, 1))
        )
    assert propose(config, 8, known) is None


def test_failed_and_running_trials_do_not_stop_tpe() -> None:
    config = tune(searcher="optuna", trials=20)
    known = searched(tune(searcher="optuna", trials=10))
    known += [Observation(known[3].values, "failed"), Observation(known[4].values, "running", {4: 0.1})]
    assert propose(config, len(known), known)
