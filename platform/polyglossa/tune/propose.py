"""Propose a trial's values: pure functions of the space, the seed, the trial's number and earlier results.

No proposal depends on a generator's hidden state, so a search that is taken up again after a kill proposes what it
would have proposed: its journal is all that it needs.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import product
from typing import Any

import optuna

from polyglossa.recipe.sections.tune import Dimension, TuneConfig

Values = dict[str, Any]
Space = Mapping[str, Dimension]
_DIRECTIONS = {
    "quality": optuna.study.StudyDirection.MAXIMIZE,
    "size": optuna.study.StudyDirection.MINIMIZE,
    "latency": optuna.study.StudyDirection.MINIMIZE,
}
_MOST_STARTUP = 10  # trials drawn at random before TPE has enough to tell good from bad; Optuna's own default


@dataclass(frozen=True)
class Observation:
    """What is known of an earlier trial."""

    values: Values
    state: str
    """running, finished, stopped or failed."""
    rungs: Mapping[int, float] = field(default_factory=dict)
    """Score by step."""
    objectives: tuple[float, ...] = ()
    """By `TuneConfig.objectives`, where it ran to its end."""


@dataclass(frozen=True)
class Proposal:
    """What a trial tries."""

    values: Values
    start: int | None = None
    """Trial whose weights it goes on from; None starts afresh."""
    until: int | None = None
    """Step at which it ends; None is the recipe's last."""


class Later(Enum):
    """The next proposal has to wait for trials that still run."""

    LATER = "later"


LATER = Later.LATER


def propose(config: TuneConfig, number: int, observations: Sequence[Observation]) -> Values | None:
    """Say what trial `number` tries; None where the search has no more trials.

    Args:
        config: space, searcher and seed.
        number: of the trial, from 0.
        observations: the earlier trials, in their order.
    """
    if (points := listed(config)) is not None:
        return points[number] if number < len(points) else None
    if config.trials is not None and number >= config.trials:
        return None
    if number == 0:
        return {}
    if config.searcher == "random":
        return draw(config.space, config.seed, number)
    return _parzen(config, number, observations)


def listed(config: TuneConfig) -> Sequence[Values] | None:
    """List every trial of a search that knows them before it starts; None for the others."""
    if config.searcher == "grid":
        return grid(config.space)[: config.trials]
    return config.variants[: config.trials] or None


def grid(space: Space) -> list[Values]:
    """Every combination, the last dimension changing fastest."""
    return [dict(zip(space, point, strict=True)) for point in product(*(axis.values or () for axis in space.values()))]


def draw(space: Space, seed: int, number: int) -> Values:
    """Draw a trial's values at random."""
    return {path: draw_value(axis, random.Random(f"{seed}/{number}/{path}")) for path, axis in space.items()}


def draw_value(axis: Dimension, chance: random.Random) -> Any:
    """Draw one value of a dimension."""
    if axis.uniform is not None:
        return chance.uniform(*axis.uniform)
    if axis.loguniform is not None:
        low, high = map(math.log, axis.loguniform)
        return min(max(math.exp(chance.uniform(low, high)), axis.loguniform[0]), axis.loguniform[1])
    return chance.choice(axis.values or ())


def _parzen(config: TuneConfig, number: int, observations: Sequence[Observation]) -> Values:
    """Ask TPE (Bergstra et al. 2011), told anew of everything that is known, with a seed of the trial's own."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = study_of(config, observations, seed=random.Random(f"{config.seed}/{number}").getrandbits(32))
    trial = study.ask(distributions(config.space))
    return {path: decode(config.space[path], value) for path, value in trial.params.items()}


def study_of(config: TuneConfig, observations: Sequence[Observation], seed: int = 0) -> optuna.Study:
    """Make an Optuna study that knows every observation whose values lie within the space."""
    startup = min(_MOST_STARTUP, max(4, (config.trials or 0) // 3))
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=len(config.space) > 1),
        directions=[_DIRECTIONS[name] for name in config.objectives],
    )
    for observation in observations:
        if set(observation.values) == set(config.space):
            study.add_trial(_frozen(config, observation))
    return study


def _frozen(config: TuneConfig, known: Observation) -> optuna.trial.FrozenTrial:
    states = optuna.trial.TrialState
    single = len(config.objectives) == 1
    common: dict[str, Any] = {
        "params": {path: encode(config.space[path], value) for path, value in known.values.items()},
        "distributions": distributions(config.space),
    }
    if known.state == "finished":
        return optuna.trial.create_trial(state=states.COMPLETE, values=list(known.objectives), **common)
    if known.state == "stopped" and single and known.rungs:
        # TPE ranks a stopped trial behind the finished ones, by how far it came and its score there.
        return optuna.trial.create_trial(state=states.PRUNED, intermediate_values=dict(known.rungs), **common)
    return optuna.trial.create_trial(state=states.RUNNING if known.state == "running" else states.FAIL, **common)


def distributions(space: Space) -> dict[str, Any]:
    """Say a space in Optuna's terms; a listed value is known by its place in the list."""
    return {path: _distribution(axis) for path, axis in space.items()}


def _distribution(axis: Dimension) -> Any:
    if axis.uniform is not None:
        return optuna.distributions.FloatDistribution(*axis.uniform)
    if axis.loguniform is not None:
        return optuna.distributions.FloatDistribution(*axis.loguniform, log=True)
    if axis.whole is not None:
        return optuna.distributions.IntDistribution(*axis.whole)
    return optuna.distributions.CategoricalDistribution(range(len(axis.values or ())))


def encode(axis: Dimension, value: Any) -> Any:
    """Say a value as `distributions` knows it."""
    return value if axis.choice is None and axis.grid is None else (axis.values or ()).index(value)


def decode(axis: Dimension, value: Any) -> Any:
    """Undo `encoded`."""
    return value if axis.choice is None and axis.grid is None else (axis.values or ())[value]
