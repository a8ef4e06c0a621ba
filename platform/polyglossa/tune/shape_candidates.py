"""Shapes that a student could have, what each costs, and which of them are worth a trial under a budget."""

import statistics
import time
from collections.abc import Callable, Iterable
from itertools import product

import torch

from polyglossa.artifact import exists, place_json, read_json
from polyglossa.errors import RecipeError
from polyglossa.model.directory import build_model
from polyglossa.model.forward import TextModel
from polyglossa.recipe.sections.backbone import Shape

_SHARES = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)  # of the parent's hidden and MLP widths
_STEP = 8  # widths are multiples of it: the smallest Matryoshka width
_SLACK = 0.2  # a candidate spends at least this much less than the budget at most
_LATENCY_TOKENS = 32


def candidates(parent: Shape) -> list[Shape]:
    """List the shapes that can be cut out of a parent: shares of its widths, any depth, all of its heads."""
    widths = [
        sorted({round(full * share / _STEP) * _STEP for share in _SHARES}) for full in (parent.hidden, parent.mlp)
    ]
    return [
        Shape(
            hidden=hidden,
            mlp=mlp,
            layers=layers,
            heads=parent.heads,
            kv_heads=parent.kv_heads,
            head_dim=parent.head_dim,
        )
        for hidden, mlp, layers in product(*widths, range(1, parent.layers + 1))
        if _STEP <= hidden <= parent.hidden and mlp >= _STEP
    ]


def choose_within(
    shapes: Iterable[Shape], cost: Callable[[Shape], float], limit: float, count: int
) -> list[tuple[Shape, float]]:
    """Choose the candidates worth a trial: those that use most of the budget, of as many depths as there are.

    Args:
        shapes: all candidates.
        cost: what a shape costs.
        limit: the budget, in the cost's unit.
        count: most candidates.

    Raises:
        RecipeError: no shape fits.
    """
    costs = [(shape, cost(shape)) for shape in shapes]
    fitting = [(shape, spent) for shape, spent in costs if limit * (1 - _SLACK) <= spent <= limit]
    if not fitting:
        least, most = min(spent for _, spent in costs), max(spent for _, spent in costs)
        raise RecipeError(
            f"--budget: no shape costs {limit * (1 - _SLACK):.4g} to {limit:.4g}; they cost {least:.4g} to {most:.4g}."
        )
    by_depth: dict[int, list[tuple[Shape, float]]] = {}
    for shape, spent in sorted(fitting, key=lambda pair: -pair[1]):
        by_depth.setdefault(shape.layers, []).append((shape, spent))
    chosen: list[tuple[Shape, float]] = []
    while len(chosen) < min(count, len(fitting)):
        for depth in sorted(by_depth):
            if by_depth[depth] and len(chosen) < count:
                chosen.append(by_depth[depth].pop(0))
    return chosen


def milliseconds_once(root: str, parent: Shape) -> dict[Shape, float]:
    """Measure every candidate, or read what an earlier search measured: one taken up again tries the same shapes.

    Args:
        root: the run's folder; remove its `tune/milliseconds-*.json` to measure again.
        parent: whose candidates are measured.
    """
    shapes = candidates(parent)
    name = "x".join(str(value) for value in parent.model_dump().values())
    uri = f"{root}/tune/milliseconds-{name}.json"
    if not exists(uri):
        place_json(uri, [milliseconds(shape) for shape in shapes])
    return dict(zip(shapes, read_json(uri), strict=True))


def milliseconds(shape: Shape, vocabulary: int = 512, repeats: int = 15) -> float:
    """Measure how long one text takes on this machine with an untrained model of a shape."""
    model = build_model(
        **shape.model_dump(), vocabulary=vocabulary, max_tokens=_LATENCY_TOKENS, eos=1, padding=0, seed=0
    )
    text_model = TextModel.of(model).eval()
    tokens_N = torch.tensor([2] * (_LATENCY_TOKENS - 1) + [1])
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats):
            began = time.perf_counter()
            text_model(tokens_N, [_LATENCY_TOKENS])
            seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)
