"""Plans are data: what stays follows from scores alone, widths are equal in all layers, nothing kept is refused."""

import json

import numpy as np
import pytest

from polyglossa.errors import UserError
from polyglossa.prune.plan import PrunePlan, Scores, Sizes, align, choose_layers, make_plan, top

PARENT = Sizes(hidden=6, mlp=4, layers=3, kv_heads=2)


def scores(**given: object) -> Scores:
    """Scores that favour high indices everywhere but where they are given."""
    default = {
        "hidden_SD": np.tile(np.arange(6.0), (4, 1)),
        "mlp_LM": np.tile(np.arange(4.0), (3, 1)),
        "kv_heads_LK": np.tile(np.arange(2.0), (3, 1)),
        "layers_L": np.array([3.0, 1.0, 2.0]),
        "energy_D": np.array([0.1, 0.1, 0.1, 0.2, 0.2, 0.3]),
    }
    return Scores(**{**default, **given})  # type: ignore[arg-type]


def test_the_highest_scores_stay() -> None:
    plan = make_plan(PARENT, Sizes(3, 2, 2, 1), scores(), "first")
    assert plan.kept_layers == (0, 1)
    assert sorted(plan.kept_hidden) == [3, 4, 5]
    assert plan.kept_mlp == ((2, 3), (2, 3))
    assert plan.kept_kv_heads == ((1,), (1,))


def test_the_plan_says_how_much_of_the_output_stays() -> None:
    assert make_plan(PARENT, Sizes(3, 2, 2, 1), scores(), "first").output_energy == pytest.approx(0.7)
    assert make_plan(PARENT, PARENT, scores(), "first").output_energy == 1.0


def test_each_layer_keeps_its_own_channels() -> None:
    mlp_LM = np.array([[9.0, 8, 1, 1], [1, 9, 8, 1], [1, 1, 9, 8]])
    plan = make_plan(PARENT, Sizes(6, 2, 3, 2), scores(mlp_LM=mlp_LM), "first")
    assert plan.kept_mlp == ((0, 1), (1, 2), (2, 3))


def test_layers_that_go_have_no_say_in_the_residual_stream() -> None:
    hidden_SD = np.zeros((4, 6))
    hidden_SD[0, :3] = 1  # the layer that stays reads the first channels
    hidden_SD[1:3, 3:] = 9  # the layers that go read the last ones
    plan = make_plan(PARENT, Sizes(3, 4, 1, 2), scores(hidden_SD=hidden_SD), "first")
    assert plan.kept_hidden == (0, 1, 2)


@pytest.mark.parametrize(
    ("depth", "kept"), [("first", (0, 1, 2)), ("uniform", (0, 3, 6)), ("block_influence", (0, 4, 5))]
)
def test_depth_rules(depth: str, kept: tuple[int, ...]) -> None:
    assert choose_layers(np.array([5.0, 0, 0, 1, 4, 3, 2]), 3, depth) == kept


@pytest.mark.parametrize("total", range(1, 41))
def test_uniform_depth_never_repeats_a_layer(total: int) -> None:
    for count in range(1, total + 1):
        assert len(set(choose_layers(np.zeros(total), count, "uniform"))) == count


def test_ties_go_to_the_lower_index() -> None:
    assert top(np.array([1.0, 2, 2, 2]), 2) == (1, 2)


def test_channels_that_can_sit_on_their_own_target_do() -> None:
    assert align([1, 2, 5, 6]) == (5, 1, 2, 6)
    assert align([0, 1, 2]) == (0, 1, 2)


def test_a_plan_survives_json() -> None:
    plan = make_plan(PARENT, Sizes(3, 2, 2, 1), scores(), "uniform")
    assert PrunePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    "target", [Sizes(0, 4, 3, 2), Sizes(6, -1, 3, 2), Sizes(6, 4, 4, 2), Sizes(7, 4, 3, 2), Sizes(6, 4, 3, 0)]
)
def test_a_target_outside_the_parent_is_refused_with_what_is_allowed(target: Sizes) -> None:
    with pytest.raises(UserError, match=r"prune\.\w+: got -?\d; allowed is 1 to \d"):
        make_plan(PARENT, target, scores(), "first")


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (((), (0,), (), ()), "kept_layers keeps nothing"),
        (((0,), (), ((0,),), ((0,),)), "kept_hidden keeps nothing"),
        (((0,), (0,), ((),), ((0,),)), "kept_mlp keeps nothing"),
        (((0,), (0,), ((0,),), ((),)), "kept_kv_heads keeps nothing"),
        (((0, 1), (0,), ((0,), (0, 1)), ((0,), (0,))), "kept_mlp differs in size between layers"),
        (((0, 1), (0,), ((0,),), ((0,), (0,))), "kept_mlp lists 1 layers, kept_layers 2"),
        (((0, 0), (0,), ((0,), (0,)), ((0,), (0,))), "kept_layers repeats an index"),
        (((0,), (0,), ((0,),), ((0,),), None, 0.0), "output_energy 0.0 is no share"),
    ],
)
def test_a_plan_that_makes_no_model_is_refused(plan: tuple[object, ...], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        PrunePlan(*plan)  # type: ignore[arg-type]
