"""Population-based training in generations: which values and whose weights a member goes on with. Pure.

Members train side by side from rung to rung. At a rung the worst quarter takes over weights and values of the best
quarter, each value drawn anew or moved up or down (truncation selection and perturbation, Jaderberg et al. 2017, arXiv
1711.09846, in its synchronous form). A member's stretch between two rungs is a trial of its own, so what is known of a
trial is known of a stretch: it is tried again, and it is not repeated when the search is taken up again. Trial number =
generation × members + member.

Only what may change while a model trains may be searched so: rates and weights, no shapes, no data. The score of a
winner is that of the values it went through; `best.yaml` holds its last ones.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from polyglossa.recipe.sections.tune import Dimension, TuneConfig
from polyglossa.tune.journal import TrialRecord
from polyglossa.tune.propose import LATER, Later, Proposal, Values, draw_value

_QUANTILE = 0.25  # of the members: as many are given up as are copied
_DRAWN_ANEW = 0.25  # chance that a value is drawn anew instead of moved
_FACTORS = (0.8, 1.2)


def stretch(
    config: TuneConfig, own: Values, steps: Sequence[int], number: int, trials: Sequence[TrialRecord]
) -> Proposal | Later | None:
    """Say how stretch `number` goes on; LATER while the generation before it is not done, None after the last.

    Args:
        config: space, number of members and seed.
        own: the recipe's own values, the first member's; a field that the recipe leaves unset is not among them.
        steps: where generations end.
        number: of the stretch.
        trials: all stretches so far.
    """
    members = config.trials or 1
    generation, member = divmod(number, members)
    if generation >= len(steps):
        return None
    until = steps[generation] if generation < len(steps) - 1 else None
    if generation == 0:
        values = {path: draw_value(axis, _chance(config, number, path)) for path, axis in config.space.items()}
        return Proposal(values if member else own, until=until)
    before = trials[(generation - 1) * members : generation * members]
    if len(before) < members or any(record.state == "running" for record in before):
        return LATER
    ranked = sorted((one for one in before if one.state == "finished" and one.last), key=_score)
    if not ranked:
        return None
    given_up = max(1, math.floor(_QUANTILE * len(ranked))) if len(ranked) > 1 else 0
    if before[member] in ranked[given_up:]:
        return Proposal(before[member].values, start=before[member].number, until=until)
    donor = _chance(config, number, "donor").choice(ranked[-max(1, given_up) :])
    moved = {
        path: _move(axis, donor.values.get(path), _chance(config, number, path)) for path, axis in config.space.items()
    }
    return Proposal(moved, start=donor.number, until=until)


def whole_trials(trials: Sequence[TrialRecord], members: int) -> list[TrialRecord]:
    """Join stretches to trials: every member of the last generation with the reports of all it descends from."""
    by_number = {record.number: record for record in trials}
    generations = math.ceil(len(trials) / members)
    joined = []
    for record in trials[(generations - 1) * members :]:
        rungs, at = list(record.rungs), record
        while at.start is not None:
            at = by_number[at.start]
            rungs = [*at.rungs, *rungs]
        ends = [{**rung, "final": rung is rungs[-1]} for rung in rungs]
        joined.append(replace(record, number=record.number % members, rungs=ends))
    return joined


def _move(axis: Dimension, value: Any, chance: random.Random) -> Any:
    if chance.random() < _DRAWN_ANEW or value is None:
        return draw_value(axis, chance)
    listed = axis.values
    if listed is not None:
        at = listed.index(value) if value in listed else 0
        return listed[min(max(at + chance.choice((-1, 1)), 0), len(listed) - 1)]
    return _clip(axis, value * chance.choice(_FACTORS))


def _clip(axis: Dimension, value: float) -> float:
    low, high = axis.probes
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    return min(max(value, float(low)), float(high))


def _score(record: TrialRecord) -> float:
    return float(record.last["score"]) if record.last else 0.0


def _chance(config: TuneConfig, number: int, what: str) -> random.Random:
    return random.Random(f"{config.seed}/population/{number}/{what}")
