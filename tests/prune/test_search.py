"""A search tries shapes that use a budget, of every depth, and says what it cannot do before it starts anything."""

import pytest

from polyglossa.errors import RecipeError
from polyglossa.pipelines.prune_shapes import Budget, candidates, milliseconds, within
from polyglossa.recipe.backbone import Shape

PARENT = Shape(hidden=256, mlp=512, layers=3, heads=4, kv_heads=2, head_dim=64)
QWEN = Shape(hidden=1024, mlp=3072, layers=28, heads=16, kv_heads=8)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("100M", Budget(parameters=100_000_000)),
        ("0.6B", Budget(parameters=600_000_000)),
        ("850k", Budget(parameters=850_000)),
        ("557952", Budget(parameters=557_952)),
        ("4.5ms", Budget(milliseconds=4.5)),
    ],
)
def test_budgets_are_parameters_or_time(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["much", "", "-5M", "0", "ms"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="write parameters as 100M or 850K, or time per text as 5ms"):
        Budget.parse(text)


def test_candidates_stay_within_the_parent_and_keep_its_heads() -> None:
    shapes = candidates(PARENT)
    assert PARENT in shapes
    assert len(set(map(str, shapes))) == len(shapes)
    assert all(shape.hidden <= 256 and shape.mlp <= 512 and 1 <= shape.layers <= 3 for shape in shapes)
    assert {(shape.heads, shape.kv_heads, shape.head_dim) for shape in shapes} == {(4, 2, 64)}
    assert all(shape.hidden % 8 == shape.mlp % 8 == 0 for shape in shapes)


@pytest.mark.parametrize(("parent", "vocabulary", "limit"), [(PARENT, 2048, 600_000), (QWEN, 151_936, 100_000_000)])
def test_trials_spend_most_of_the_budget_and_cover_depths(parent: Shape, vocabulary: int, limit: int) -> None:
    chosen = within(candidates(parent), lambda shape: shape.parameters(vocabulary), limit, 6)
    assert 1 < len(chosen) <= 6
    assert all(0.8 * limit <= cost <= limit for _, cost in chosen)
    assert all(cost == shape.parameters(vocabulary) for shape, cost in chosen)
    assert len({shape.layers for shape, _ in chosen}) > 1


def test_a_budget_that_nothing_meets_is_refused_with_what_shapes_cost() -> None:
    with pytest.raises(RecipeError, match="no shape costs 8 to 10; they cost"):
        within(candidates(PARENT), lambda shape: shape.parameters(2048), 10, 6)


def test_a_deeper_model_takes_longer() -> None:
    shallow, deep = (Shape(hidden=64, mlp=128, layers=layers, heads=2, kv_heads=1, head_dim=32) for layers in (1, 8))
    assert 0 < milliseconds(shallow) < milliseconds(deep)
