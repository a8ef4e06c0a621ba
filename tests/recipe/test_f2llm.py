"""Protects promise 5 and the reference recipe: the published values stand in it, and every scale has the same graph."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.corpus.sources.per_file import expand_sources
from polyglossa.corpus.sources.shards import plan_shards, read_shard
from polyglossa.model.variants.exits import exit_layers
from polyglossa.model.variants.low_rank import published_ranks
from polyglossa.pack.index import IN_BATCH_TASKS
from polyglossa.pipeline.build import build, stage_of
from polyglossa.pipeline.graph import Node
from polyglossa.recipe import Recipe, load_recipe
from polyglossa.recipe.sections.sources import F2llmSource
from polyglossa.recipe.sections.train import TrainConfig

RECIPES = Path(__file__).parents[2] / "jobs/recipes"
NAMES = ("f2llm-v2", "f2llm-v2-improved", "f2llm-v2-stage2", "ml-embed")
FILES = json.loads(Path(__file__).with_name("f2llm_files.json").read_text(encoding="utf-8"))

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
        assert (stage.schedule, stage.source_order, stage.seed) == ("published", "drawn", 0)
        assert (stage.validation_steps, stage.validation_widths) == (5000, "full")
        wanted = ("published", "query_only", "none", 0.05, 1.0, 1.0, 1.0)
        terms = stage.objective
        assert wanted == (
            terms.matryoshka, terms.gather, terms.mask, terms.temperature, terms.hard_weight, terms.in_batch_weight,
            terms.distillation_weight,
        )  # fmt: skip
    last = published.training["stage2"]
    assert (last.max_examples, last.task_negatives) == (80_000, {"clustering": 9, "classification": 1})
    assert (last.late_checkpoints, last.late_checkpoint_steps, last.late_checkpoints_at) == (5, 500, "multiples")
    assert len(published.evaluate.benchmarks) == 17


def test_members_are_judged_as_their_authors_judge_them_and_read_texts_of_that_length(published: Recipe) -> None:
    assert published.evaluate.judged_as == "codefuse-ai/F2LLM-v2-0.6B"
    assert (published.evaluate.max_tokens, published.evaluate.dtype) == (None, None)
    assert {member.backbone.max_tokens for member in published.members if member.backbone} == {8192}


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
    values = [line for line in science if re.match(r"\s+\w+: [^#*\s]", line) and not re.match(r"\s+\w+: &\w+$", line)]
    assert len(values) > 30
    assert [line for line in values if not re.search(r"#.*\[[PCIOH]\]", line)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_tiny_scale_has_the_graph_of_the_full_one(name: str) -> None:
    full, tiny = _graph(name), _graph(name, "scale=tiny")
    assert list(full) == list(tiny)
    for node in full.values():
        first = next(name for name in full if name.startswith("backbone."))
        also = {"model": first} if node.name == "mine" else {}  # no hub: the first backbone mines
        assert dict(tiny[node.name].inputs) == {**node.inputs, **also}


@pytest.mark.parametrize("name", NAMES)
def test_the_tiny_scale_names_nothing_on_a_hub_and_shrinks_every_size(name: str) -> None:
    tiny, full = (load_recipe(RECIPES / f"{name}.yaml", [f"scale={scale}"]) for scale in ("tiny", "full"))
    assert {source.kind for source in tiny.corpus.sources} == {"cldr", "pydoc"}
    assert tiny.evaluate.benchmarks == tiny.evaluate.tasks == ()
    assert tiny.mine is not None
    assert tiny.mine.model == f"{tiny.members[0].name}@backbone"
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


def test_every_published_file_is_a_source_of_its_own_in_batches_of_its_published_kind(
    published: Recipe, tmp_path: Path
) -> None:
    kinds = {name: kind for kind in ("retrieval", "clustering", "classification") for name in FILES[kind]}
    assert len(kinds) == 502
    for name in kinds:
        (tmp_path / f"{name}.parquet").write_bytes(b"")
    config = published.corpus.changed(data=str(tmp_path))
    sources = expand_sources(config).sources
    assert len(sources) == len({source.name for source in sources}) == 502
    for source in sources:
        assert isinstance(source, F2llmSource)
        (file,) = source.files
        kind = kinds[Path(file).stem]
        # Two-way files are known by their rows, whatever the entry says; the others by their entry.
        assert (source.task == "clustering") == (kind == "clustering"), source.name
        assert source.task in ("retrieval", "bitext") or kind == "clustering"
    stage1 = [
        name for name in kinds if any(fnmatchcase(name, one) for one in published.training["stage1"].sources or ())
    ]
    assert len(stage1) == 147
    for glob, count in (("paracrawl_*", 52), ("clirmatrix_*", 18), ("unpc_*", 30), ("*_part?", 10)):
        assert sum(fnmatchcase(source.name, glob) for source in sources) == count


@pytest.mark.parametrize(
    ("file", "negatives", "task", "in_batch"),
    [
        ("cosqa", 24, "retrieval", True),
        ("paracrawl_en-sw", 24, "bitext", True),
        ("sts12", 24, "bitext", True),
        ("banking77", 24, "clustering", False),
        ("imdb", 1, "classification", False),
    ],
)
def test_rows_of_a_file_land_in_batches_with_or_without_the_in_batch_term(
    published: Recipe, tmp_path: Path, file: str, negatives: int, task: str, in_batch: bool
) -> None:
    for name in (name for kind in ("retrieval", "clustering", "classification") for name in FILES[kind]):
        (tmp_path / f"{name}.parquet").write_bytes(b"")
    row = {"query": "q", "passage": "p"} | {f"negative_{number}": f"n{number}" for number in range(1, negatives + 1)}
    pq.write_table(pa.Table.from_pylist([row] * 3), tmp_path / f"{file}.parquet")
    every = expand_sources(published.corpus.changed(data=str(tmp_path)))
    config = every.changed(sources=tuple(one.model_dump() for one in every.sources if one.name == file))
    tables = [read.candidates for shard in plan_shards(config) for read in read_shard(shard, config)]
    rows = pa.concat_tables(tables).to_pylist()
    assert {(one["source"], one["task"]) for one in rows} == {(file, task)}
    assert {len(one["negatives"]) for one in rows} == {negatives}
    assert (task in IN_BATCH_TASKS) == in_batch


def test_the_second_stage_alone_starts_from_the_public_models_of_the_first() -> None:
    recipe = load_recipe(RECIPES / "f2llm-v2-stage2.yaml")
    assert list(recipe.training) == ["stage2"]
    for member in recipe.members:
        assert member.stages == ("stage2",)
        if member.backbone is not None:
            size = member.name.upper()
            assert member.backbone.model == f"codefuse-ai/F2LLM-v2-{size}-Preview"
            assert member.backbone.shape is not None
        else:
            assert member.prune is not None
            assert member.prune.from_ == "0.6b@backbone"
    whole, alone = _graph("f2llm-v2"), _graph("f2llm-v2-stage2")
    assert set(whole) - set(alone) == {"pack.14b.stage1"} | {name for name in whole if name.endswith(".stage1")}
    assert set(alone) <= set(whole)
    assert alone["prune.80m"].inputs == {"model": "backbone.0.6b", "pack": "pack.14b.stage2"}
    for name in ("14b", "80m"):
        assert alone[f"train.{name}.stage2"].config == whole[f"train.{name}.stage2"].config


def test_ml_embed_trains_every_width_depth_and_rank_as_published() -> None:
    recipe = load_recipe(RECIPES / "ml-embed.yaml")
    (member,), (stage,) = recipe.members, recipe.training.values()
    assert member.backbone is not None
    assert member.backbone.model == "codefuse-ai/F2LLM-v2-0.6B-Preview"
    assert (member.teacher, member.merge, member.learning_rate) == (None, None, 1e-5)
    assert (stage.objective.layer_exits, stage.objective.matryoshka) == (True, "published")
    assert (stage.embedding_rank, stage.embedding_ranks) == (512, "published")
    assert exit_layers(28) == (1, 2, 4, 8, 16, 24, 28)
    assert published_ranks(512) == (64, 128, 256, 512)
    assert (stage.epochs, stage.warmup_steps, stage.schedule) == (2, 100, "published")
    assert list(_graph("ml-embed")) == [
        "corpus", "backbone.0.6b", "mine", "pack.0.6b.stage2", "train.0.6b.stage2", "evaluate.0.6b",
        "evaluate.0.6b.untrained", "report", "serve",
    ]  # fmt: skip


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
