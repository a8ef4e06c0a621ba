"""Protects promise 5 and the reference recipe: the published values stand in it, and every scale has the same graph."""

import re
from pathlib import Path

import pytest

from polyglossa.pipeline.build import build, stage_of
from polyglossa.pipeline.graph import Node
from polyglossa.recipe import Recipe, load_recipe
from polyglossa.recipe.sections.train import TrainConfig

RECIPES = Path(__file__).parents[2] / "jobs/recipes"
NAMES = ("f2llm-v2", "f2llm-v2-improved")

# arXiv 2603.19223: parameters, learning rate, epochs, teacher.
PUBLISHED = {
    "14b": (13_990_394_880, 5e-6, 2, None),
    "8b": (7_568_405_504, 6e-6, 2, None),
    "4b": (4_022_468_096, 7e-6, 2, None),
    "1.7b": (1_720_574_976, 9e-6, 2, "4b"),
    "0.6b": (596_049_920, 1e-5, 2, "1.7b"),
    "330m": (334_349_184, 2e-5, 3, "0.6b"),
    "160m": (159_185_024, 3e-5, 3, "0.6b"),
    "80m": (80_084_288, 4e-5, 4, "0.6b"),
}


@pytest.fixture(scope="module")
def published() -> Recipe:
    return load_recipe(RECIPES / "f2llm-v2.yaml")


def test_all_eight_members_have_the_published_size_rate_epochs_and_teacher(published: Recipe) -> None:
    shapes = published.shapes()
    found = {}
    for member in published.members:
        shape, last = shapes[member.name], stage_of(member, published.training["stage2"])
        assert shape is not None
        found[member.name] = (shape.parameters(151_936), last.learning_rate, last.epochs, member.teacher)
    assert found == PUBLISHED


def test_the_objective_and_the_optimizer_are_the_published_ones(published: Recipe) -> None:
    for stage in published.training.values():
        assert (stage.global_batch, stage.warmup_steps, stage.min_learning_rate) == (512, 500, 1e-7)
        assert (stage.betas, stage.weight_decay, stage.clip, stage.dtype) == ((0.9, 0.98), 0.01, 1.0, "bfloat16")
        assert (stage.negatives, stage.max_tokens) == (7, 1024)
        wanted = ("published", "query_only", "none", 0.05, 1.0, 1.0, 1.0)
        terms = stage.objective
        assert wanted == (
            terms.matryoshka, terms.gather, terms.mask, terms.temperature, terms.hard_weight, terms.in_batch_weight,
            terms.distillation_weight,
        )  # fmt: skip
    last = published.training["stage2"]
    assert (last.max_examples, last.task_negatives) == (80_000, {"clustering": 9, "classification": 1})
    assert (last.late_checkpoints, last.late_checkpoint_steps) == (5, 500)
    assert len(published.evaluate.benchmarks) == 17


def test_pruned_members_see_stage_2_alone_and_come_from_the_0_6b_after_stage_1(published: Recipe) -> None:
    for name in ("330m", "160m", "80m"):
        member = published.member(name)
        assert member.stages == ("stage2",)
        assert member.prune is not None
        assert (member.prune.from_, member.prune.depth) == ("0.6b@stage1", "first")


def test_the_data_is_packed_once_for_the_family_and_a_teacher_embeds_once_for_its_students(published: Recipe) -> None:
    names = list(build(published).nodes)
    assert [name for name in names if name.startswith("pack.")] == ["pack.14b.stage1", "pack.14b.stage2"]
    stores = [name for name in names if name.startswith("distill.")]
    assert stores == ["distill.4b.14b.stage2", "distill.1.7b.14b.stage2", "distill.0.6b.14b.stage2"]


def test_every_value_of_the_published_recipe_says_where_it_comes_from() -> None:
    text = (RECIPES / "f2llm-v2.yaml").read_text()
    science = text[text.index("\ntraining:") : text.index("\nmembers:")].splitlines()
    values = [line for line in science if re.match(r"\s+\w+: [^#&*\s]", line)]
    assert len(values) > 30
    assert [line for line in values if not re.search(r"#.*\[[PCIOH]\]", line)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_tiny_scale_has_the_graph_of_the_full_one(name: str) -> None:
    full, tiny = _graph(name), _graph(name, "scale=tiny")
    assert list(full) == list(tiny)
    for node in full.values():
        also = {"model": "backbone.14b"} if node.name == "mine" else {}  # no hub: the first backbone mines
        assert dict(tiny[node.name].inputs) == {**node.inputs, **also}


@pytest.mark.parametrize("name", NAMES)
def test_the_tiny_scale_names_nothing_on_a_hub_and_shrinks_every_size(name: str) -> None:
    tiny, full = (load_recipe(RECIPES / f"{name}.yaml", [f"scale={scale}"]) for scale in ("tiny", "full"))
    assert {source.kind for source in tiny.corpus.sources} == {"cldr", "pydoc"}
    assert tiny.evaluate.benchmarks == tiny.evaluate.tasks == ()
    assert tiny.mine is not None
    assert tiny.mine.model == "14b@backbone"
    shapes, published = tiny.shapes(), full.shapes()
    for member in tiny.members:
        assert member.backbone is None or member.backbone.model is None
        small, large = shapes[member.name], published[member.name]
        assert small is not None
        assert large is not None
        assert small.hidden == large.hidden // 32
        assert (small.mlp, small.layers) == (large.mlp // 32, -(-large.layers // 8))
    for stage in tiny.training.values():
        assert (stage.global_batch, stage.max_tokens, stage.warmup_steps) == (16, 64, 1)


def test_what_is_set_beside_the_scale_is_taken_as_it_is() -> None:
    tiny = load_recipe(RECIPES / "f2llm-v2.yaml", ["training.stage1.global_batch=24", "scale=tiny"])
    assert tiny.training["stage1"].global_batch == 24


def test_the_improved_recipe_differs_only_where_it_says_so() -> None:
    published, improved = _graph("f2llm-v2"), _graph("f2llm-v2-improved")
    assert set(improved) - set(published) == {"pack.160m.stage2", "pack.80m.stage2"}
    shapes = load_recipe(RECIPES / "f2llm-v2-improved.yaml").shapes()
    sizes = {name: shape.parameters(65_536) for name, shape in shapes.items() if shape is not None}
    assert (sizes["160m"], sizes["80m"]) == (103_889_024, 52_436_288)
    for name in ("train.14b.stage1", "train.14b.stage2"):
        before, after = (graph[name].config for graph in (published, improved))
        assert isinstance(before, TrainConfig)
        assert isinstance(after, TrainConfig)
        assert after.stage.objective.gather == "with_grad"
        assert after.stage.learning_rate == before.stage.learning_rate


def _graph(name: str, *overrides: str) -> dict[str, Node]:
    return build(load_recipe(RECIPES / f"{name}.yaml", overrides)).nodes
