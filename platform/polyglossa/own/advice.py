"""Say what came out in sentences, and what to try where it is not better. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from polyglossa.own.comparison import is_better, is_lost

_LEAST_LOSS = 0.005


def sentences(found: Mapping[str, Any]) -> Iterator[str]:
    """Tell a comparison (`own.json`) in a line a task: own tasks first, then what was lost elsewhere.

    Args:
        found: `member`, `start`, `tasks`, `elsewhere` and `proposal`.
    """
    for task, figures in found["tasks"].items():
        if "failed" in figures:
            yield f"{task}: not judged: {figures['failed']}"
            continue
        names = sorted(figures["against"], key=lambda name: (name != found["start"], name))
        told = [_against(name, figures["against"][name]) for name in names]
        beside = f", {', '.join(told)}" if told else ""
        yield f"{task}: {figures['metric']} {figures['own']:.4f} on {figures['queries']:,} held-out queries{beside}."
    lost = [(task, one) for task, one in found["elsewhere"].items() if is_lost(one)]
    for task, one in lost:
        yield f"Elsewhere: {task} {one['metric']} {one['own']:.4f}, {_difference(one)} than {found['start']}."
    kept = [task for task, one in found["elsewhere"].items() if not is_lost(one)]
    if kept:
        yield f"Elsewhere: nothing lost on {', '.join(kept)}."
    if found.get("proposal"):
        yield found["proposal"]["said"]


def _against(name: str, against: Mapping[str, Any]) -> str:
    if against["mean"] is None:
        return f"{name} was judged on other rows"
    return f"{_difference(against)} than {name} ({against['mean']:.4f})"


def _difference(against: Mapping[str, Any]) -> str:
    size = abs(against["difference"])
    around = f" ± {(against['high'] - against['low']) / 2:.3f}" if against["low"] is not None else ""
    word = "better" if against["difference"] >= 0 else "worse"
    sure = "" if is_better(against) or is_lost(against) or against["low"] is None else ", within chance"
    return f"{word} by {size:.3f}{around}{sure}"


def advice(found: Mapping[str, Any], learning: Mapping[str, float], recipe: str, *, has_search: bool) -> list[str]:
    """Say what to try where the model is not better than it came, or than BM25; nothing where it is.

    Args:
        found: as for `sentences`.
        learning: `learning_rate`, `steps`, `relative_margin`, `negatives` of the last stage.
        recipe: how commands name the recipe.
        has_search: whether the recipe has a `tune` section.
    """
    start = found["start"]
    judged = {task: figures for task, figures in found["tasks"].items() if "against" in figures}
    not_better = [
        task
        for task, figures in judged.items()
        if start in figures["against"] and not is_better(figures["against"][start])
    ]
    below = [task for task, figures in judged.items() if is_lost(figures["against"].get("BM25", {"difference": 0.0}))]
    lines = []
    if not_better:
        lines.append(f"Not better than {start} on {', '.join(not_better)}. Try, one at a time:")
        lines += _trials(learning)
        if has_search:
            lines.append(f"  or let a search vary three of them: polyglossa run {recipe} --until tune")
    if below:
        lines.append(
            f"BM25 is better on {', '.join(below)}: questions share their answers' words there. Search with both, and "
            "take a larger model to start from."
        )
    return lines


def _trials(learning: Mapping[str, float]) -> Iterator[str]:
    stage = "training.own"
    if "steps" in learning:
        yield f"  more steps: --set {stage}.steps={int(learning['steps']) * 2}"
    if "learning_rate" in learning:
        rate = learning["learning_rate"]
        yield f"  another rate: --set {stage}.learning_rate={rate / 2:g} (or {rate * 2:g})"
    if "relative_margin" in learning:
        yield "  a wider margin of mined negatives: --set mine.relative_margin=0.9"


def is_worth_averaging(elsewhere: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether so much was lost elsewhere that averages with the model as it came are worth a try."""
    return any(is_lost(one) and one["difference"] < -_LEAST_LOSS for one in elsewhere.values())


def propose_average(trials: list[dict[str, float]], member: str, start: str) -> dict[str, Any] | None:
    """Choose the share of the trained model that is best on validation, own and elsewhere alike; None where none pays.

    Args:
        trials: {"share", "own", "elsewhere"} of each average, the trained model (1) and the one it came from (0)
            among them.
        member: the trained model.
        start: the one it came from.
    """
    by_share = {one["share"]: one for one in trials}
    trained, first = by_share[1.0], by_share[0.0]
    gain, loss = trained["own"] - first["own"], first["elsewhere"] - trained["elsewhere"]
    if gain <= 0 or loss <= 0:
        return None

    def worth(one: Mapping[str, float]) -> tuple[float, float]:
        """Share of the gain that is kept, and of the loss that is won back."""
        return (one["own"] - first["own"]) / gain, (one["elsewhere"] - trained["elsewhere"]) / loss

    best = max(trials, key=lambda one: sum(worth(one)))  # both weigh the same
    if best["share"] in (0.0, 1.0):
        return None
    kept, back = worth(best)
    weights = [best["share"], round(1 - best["share"], 4)]
    lines = {
        "method": "linear",
        "weights": weights,
        "models": [f"{member}@backbone"],
        "late_checkpoints": False,
        "keep": "always",
    }
    return {
        "share": best["share"],
        "kept": kept,
        "won_back": back,
        "merge": lines,
        "said": (
            f"An average of {weights[0]:g} {member} and {weights[1]:g} {start} keeps {kept:.0%} of the gain and wins "
            f"back {back:.0%} of what was lost elsewhere (on validation). In the recipe, under members.{member}: "
            f"merge: {{method: linear, weights: [{weights[0]:g}, {weights[1]:g}], models: [{member}@backbone], "
            "late_checkpoints: false, keep: always}"
        ),
    }
