"""The recipe in which one member learns for a few steps, in a stage of its own: what searches over its shape vary.

Members after it are left out, and what serves or plans the family: no trial needs them. What it reads (parent, packs,
teacher) is laid out as in the whole recipe, so what a run has made is read and not made again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from polyglossa.errors import RecipeError
from polyglossa.recipe.load import validate
from polyglossa.recipe.models import Recipe
from polyglossa.recipe.sections.members import Member
from polyglossa.recipe.trial import plain

_LEFT_OUT = ("serve", "expect")
_OF_THE_WHOLE = ("merge", "without_distillation")  # of a member
_BESIDE = ("evaluate_every", "evaluate_tasks", "late_checkpoints")  # of a stage
_WARMUP_SHARE = 10  # the rate has risen after a tenth of the steps, however long the whole stage would warm up


def taught_member(recipe: Recipe, name: str | None) -> Member:
    """Find a pruned member with a teacher; None takes the first.

    Raises:
        RecipeError: there is none, or none of that name.
    """
    taught = [member for member in recipe.members if member.prune is not None and member.teacher is not None]
    for member in taught:
        if name in (None, member.name):
            return member
    names = ", ".join(member.name for member in taught) or "none"
    raise RecipeError(f"{name or recipe.name}: is no pruned member with a teacher; there is {names}.")


def shortened(recipe: Recipe, name: str, *, steps: int) -> Recipe:
    """Let a member learn its last stage alone, under another name and for so many steps.

    Changes of that stage, `member(name).stages[-1]` of the result, train nobody else anew.
    """
    data = {key: value for key, value in plain(recipe).items() if key not in _LEFT_OUT}
    *others, member = data["members"][: [one["name"] for one in data["members"]].index(name) + 1]
    last = member["stages"][-1]
    own = f"{last.replace('.', '-')}-short"
    while own in data["training"]:
        own += "-"
    stage = {key: value for key, value in data["training"][last].items() if key not in _BESIDE}
    stage["warmup_steps"] = min(recipe.training[last].warmup_steps, steps // _WARMUP_SHARE)
    data["training"][own] = stage
    refresh = data["mine"].get("refresh", {}) if data.get("mine") else {}
    if last in refresh:
        refresh[own] = refresh[last]
    kept = {key: value for key, value in member.items() if key not in _OF_THE_WHOLE}
    data["members"] = [*others, kept | {"stages": [own], "steps": steps}]
    return validate(Recipe, data, f"{recipe.name}, {name} alone")


def listed_search(
    recipe: Recipe,
    variants: Sequence[Mapping[str, Any]],
    *,
    sets: Sequence[str] | None,
    queries: int | None,
    first_rung: int,
) -> Recipe:
    """Give a shortened recipe a search whose trials are listed; all queries judge, for ranks are all that is asked.

    Args:
        recipe: what the trials vary.
        variants: what each trial changes.
        sets: what judges; None takes all that `tune.judge.sets` may name.
        queries: most queries of a set; None takes all.
        first_rung: steps after which trials report first.

    Raises:
        RecipeError: a variant is no valid recipe.
    """
    search = {
        "searcher": "listed",
        "member": recipe.members[-1].name,
        "variants": [dict(values) for values in variants],
        "judge": {"sets": sets, "queries": queries, "search_share": 1.0},
        "rungs": {"first": first_rung},
    }
    return validate(Recipe, {**plain(recipe), "tune": search}, recipe.name)
