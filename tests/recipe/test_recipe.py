"""Protects promise 7 and the recipe's contract: strict, overridable, and every error one line that names the path."""

from pathlib import Path

import pytest

from polyglossa.errors import RecipeError
from polyglossa.recipe import load_recipe
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.backbone import Shape
from polyglossa.recipe.sections.train import ObjectiveConfig
from polyglossa.recipe.trial import trial_recipe

QUICKSTART = Path(__file__).parents[2] / "jobs/recipes/quickstart.yaml"

PUBLISHED = {
    "80M": (Shape(hidden=320, mlp=2048, layers=8, heads=16, kv_heads=8), 80_084_288),
    "160M": (Shape(hidden=640, mlp=1536, layers=9, heads=16, kv_heads=8), 159_185_024),
    "330M": (Shape(hidden=896, mlp=2560, layers=16, heads=16, kv_heads=8), 334_349_184),
    "0.6B": (Shape(hidden=1024, mlp=3072, layers=28, heads=16, kv_heads=8), 596_049_920),
    "1.7B": (Shape(hidden=2048, mlp=6144, layers=28, heads=16, kv_heads=8), 1_720_574_976),
    "4B": (Shape(hidden=2560, mlp=9728, layers=36, heads=32, kv_heads=8), 4_022_468_096),
    "8B": (Shape(hidden=4096, mlp=12288, layers=36, heads=32, kv_heads=8), 7_568_405_504),
    "14B": (Shape(hidden=5120, mlp=17408, layers=40, heads=40, kv_heads=8), 13_990_394_880),
}


@pytest.mark.parametrize("size", PUBLISHED)
def test_shape_counts_the_published_parameters_to_the_digit(size: str) -> None:
    shape, parameters = PUBLISHED[size]
    assert shape.parameters(151_936) == parameters


def test_the_quickstart_recipe_is_valid() -> None:
    assert load_recipe(QUICKSTART).name == "quickstart"


def test_an_override_reaches_a_named_member_and_a_yaml_number() -> None:
    recipe = load_recipe(QUICKSTART, ["members.small.steps=5", "training.stage1.learning_rate=2e-4"])
    assert recipe.member("small").steps == 5
    assert recipe.training["stage1"].learning_rate == 2e-4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("traning=1", "traning: unknown key; did you mean 'training'"),
        ("members.small.prune.hiden=64", "members.1.prune.hiden: unknown key; did you mean 'hidden'"),
        ("members.small.prune.hidden=-4", "members.1.prune.hidden: got -4"),
        ("members.small.prune.from=small@stage1", "cannot be pruned from itself"),
        ("members.small.prune.hidden=4096", "is wider than"),
        ("members.small.teacher=nobody", "'nobody' is not an earlier member; those are base"),
        ("members.small.teacher=small", "cannot teach itself"),
        ("members.base.stages=[stage9]", "'stage9' is not one of stage1, stage2"),
        ("mine.model=base@stage9", "has no stage 'stage9'"),
        ("training.stage1.global_batch=big", 'got "big"'),
        ("training.stage1.global_batch=true", "got true"),
        ("members.nobody.steps=1", "'nobody' is not an item of the list; it has base, small"),
        ("nothing", "write it as a.b.c=value"),
    ],
)
def test_a_wrong_value_is_one_line_that_says_where_and_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(QUICKSTART, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_teacher_narrower_than_its_student_is_refused() -> None:
    wide = "members.base.backbone.shape.hidden"
    with pytest.raises(RecipeError, match="narrower than its student's"):
        load_recipe(
            QUICKSTART,
            [
                "members.small.prune=null",
                "members.small.backbone={shape: {hidden: 512, mlp: 64, layers: 1, heads: 2, kv_heads: 1}, "
                "tokenizer: {vocabulary: 1000}}",
                f"{wide}=128",
            ],
        )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


def test_norwegian_is_a_language_and_not_false(tmp_path: Path) -> None:
    text = QUICKSTART.read_text().replace("name: quickstart", "name: no")
    (tmp_path / "no.yaml").write_text(text)
    assert load_recipe(tmp_path / "no.yaml").name == "no"


@pytest.mark.parametrize("name", ["terms", "teacher_terms"])
def test_terms_are_read_under_their_former_name_too_and_keep_their_address(name: str) -> None:
    config = validate(ObjectiveConfig, {name: {"cosine": 2.0}}, "objective")
    assert config.terms == {"cosine": 2.0}
    assert config.model_dump(mode="json", by_alias=True)["teacher_terms"] == {"cosine": 2.0}
    assert config.changed(hard_weight=2.0).terms == config.terms
    changed = load_recipe(QUICKSTART, [f"training.distil.objective.{name}={{cosine: 3}}"])
    assert changed.training["distil"].objective.terms == {"cosine": 3.0}
    trial = trial_recipe(changed, {f"training.distil.objective.{name}.cosine": 4.0})
    assert trial.training["distil"].objective.terms == {"cosine": 4.0}


def test_a_mistyped_objective_names_the_near_miss() -> None:
    with pytest.raises(RecipeError, match="did you mean 'terms'"):
        load_recipe(QUICKSTART, ["training.distil.objective.term={cosine: 3}"])
    with pytest.raises(RecipeError, match="set `scores: true` beside it"):
        load_recipe(QUICKSTART, ["training.distil.objective.terms={scores: 1}"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objective.terms={angle: 1}"], "`angle` ranks pairs by their own scores; set `scores: true`"),
        (["hard_negatives=false", "objective.terms={margin_mse: 1}"], "`margin_mse` reads a row's own negatives"),
        (
            ["hard_negatives=false", "objective.candidates=[positives, negatives]"],
            "candidates: negatives: none are read",
        ),
        (["objective.candidates=[queries]"], "name `positives`, and each kind once"),
        (
            ["objective.candidates=[positives, documents]", "objective.gather=query_only"],
            "documents: compares documents alone",
        ),
        (["objective={candidates: [positives, queries], in_batch_weight: 0}"], "belong to the in-batch term"),
        (["objective={hard_weight: 0, in_batch_weight: 0, terms: {binary: 1}}"], "`binary` compresses the contrastive"),
        (["objective={matryoshka: learned, layer_exits: true}"], "matryoshka: learned: not with layer_exits"),
        (["guide={model: base@stage1}", "objective.in_batch_weight=0"], "guide: leaves in-batch candidates out"),
        (["guide={model: nobody@stage1}"], "training.stage2.guide.model: 'nobody' is not an earlier member"),
        (
            ["instructions=false", "guide={model: {model: x, prompts: instruction}}"],
            "guide.model.prompts: 'instruction' needs training.stage2.instructions: true",
        ),
    ],
)
def test_terms_that_cannot_work_are_refused_before_anything_runs(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(QUICKSTART, [f"training.stage2.{one}" for one in overrides])
    assert message in str(caught.value)


def test_what_is_off_leaves_no_trace_in_an_address() -> None:
    config = load_recipe(QUICKSTART).training["stage2"]
    plain = config.model_dump(mode="json", by_alias=True)
    assert "guide" not in plain
    assert not {"candidates", "rescored_scale"} & set(plain["objective"])
    changed = load_recipe(QUICKSTART, ["training.stage2.objective.candidates=[positives, queries]"])
    assert changed.training["stage2"].objective.candidates == ("positives", "queries")
