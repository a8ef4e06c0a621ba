"""Models from outside in a recipe: what is said of them, what is refused, and the graph and plan of such a recipe."""

from pathlib import Path
from typing import Any

import pytest

from polyglossa.capacity.estimate import estimate
from polyglossa.capacity.table import plan_table
from polyglossa.costing.devices import read_calibration
from polyglossa.errors import RecipeError
from polyglossa.pipeline.build import build, describe
from polyglossa.recipe import Recipe, load_profile, load_recipe
from polyglossa.recipe.outside import OutsideModel, OutsideTeacher
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.recipe.sections.teacher import TeacherConfig

QUICKSTART = Path(__file__).parents[2] / "jobs/recipes/quickstart.yaml"
URL = "http://127.0.0.1:9/v1"
ASKED = f"members.small.teacher={{endpoint: '{URL}', model: e5, query_prompt: 'query: ', key_variable: A_KEY}}"


def quickstart(*overrides: str) -> Recipe:
    return load_recipe(QUICKSTART, overrides)


def test_a_teacher_is_a_member_members_with_weights_or_from_outside() -> None:
    member = quickstart(ASKED).member("small")
    assert isinstance(member.teacher, OutsideTeacher)
    assert (member.outside, member.teachers, member.taught_by) == (member.teacher, {}, "e5")
    assert quickstart("members.small.teacher={model: some/model}").member("small").taught_by == "model"
    several = quickstart("members.small.teacher={base: 0.5}").member("small")
    assert (several.outside, several.teachers) == (None, {"base": 0.5})


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("members.small.teacher={modle: x, endpoint: 'http://h/v1'}", "unknown key; did you mean 'model'?"),
        ("members.small.teacher={endpoint: 'http://h/v1'}", "model: is missing"),
        ("members.small.teacher={model: x, endpoint: nowhere}", "nowhere: is no address of an endpoint"),
        ("members.small.teacher={model: x, endpoint: 'http://me:pw@h/v1'}", "h: the address holds a key"),
        ("members.small.teacher={model: x, endpoint: 'http://h/v1?api_key=s'}", "h: the address holds a key"),
        ("members.small.teacher={model: x, key_variable: K}", "key_variable: is for an `endpoint`"),
        ("members.small.teacher={model: x, endpoint: 'http://h/v1', max_tokens: 64}", "an endpoint cuts texts itself"),
        ("mine.model={endpoint: 'http://h/v1'}", "model: is missing"),
        ("mine.model={model: x, endpoint: 'ftp://h'}", "is no address of an endpoint"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(override: str, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        quickstart(override)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "pw" not in str(raised.value)


def test_a_live_teacher_from_outside_is_refused_with_the_reason() -> None:
    with pytest.raises(RecipeError, match="teacher_states: live: a teacher from outside cannot read the student's"):
        quickstart(ASKED, "members.small.teacher_states=live")


def test_instructions_that_the_stage_leaves_out_are_no_prompts() -> None:
    teacher = "members.small.teacher={model: x, prompts: instruction}"
    with pytest.raises(RecipeError, match=r"teacher.prompts: 'instruction' needs training\.\w+\.instructions: true"):
        quickstart(teacher, "training.stage2.instructions=false")


def test_its_store_is_made_from_texts_and_other_nodes_stay_as_they_are() -> None:
    plain, asked = build(quickstart()), build(quickstart(ASKED))
    stage = quickstart().member("small").stages[-1]
    store = asked.nodes[f"distill._outside.small.{stage}"]
    texts = asked.nodes[f"pack._texts.{stage}"]
    assert store.inputs == {"pack": texts.name}
    assert "backbone" not in texts.inputs
    assert isinstance(texts.config, PackConfig)
    assert texts.config.texts
    assert asked.nodes[f"train.small.{stage}"].inputs["teacher"] == store.name
    assert {name for name in asked.nodes if name.startswith("pack.")} - {texts.name} <= set(plain.nodes)
    for name in set(plain.nodes) & set(asked.nodes):
        if plain.nodes[name].stage == "pack":
            assert "texts" not in asked.nodes[name].config.model_dump()
    assert store.name in describe(quickstart(ASKED))


def test_its_states_are_cut_to_the_widest_student_unless_one_reaches_it_through_a_projection() -> None:
    widths = []
    for overrides in ((), ("members.small.projection=true",)):
        stores = [
            node.config
            for node in build(quickstart(ASKED, *overrides)).nodes.values()
            if isinstance(node.config, TeacherConfig)
        ]
        widths.append([store.width for store in stores])
    shape = quickstart().shapes()["small"]
    assert shape is not None
    assert widths == [[shape.hidden], [None]]


def test_a_plan_says_what_it_does_not_count() -> None:
    recipe = quickstart(ASKED, f"mine.model={{endpoint: '{URL}', model: e5}}", "mine.max_tokens=null")
    plan = estimate(recipe, load_profile(None), read_calibration(None), {})
    said = [warning for warning in plan.warnings if "not counted" in warning]
    assert [warning.partition(":")[0] for warning in said] == ["mine", "distill._outside.small.stage2"]
    assert "the time and memory that e5 takes are not counted" in plan_table(plan)


def test_a_recipe_scaled_down_asks_nobody() -> None:
    recipe = quickstart(ASKED, f"mine.model={{endpoint: '{URL}', model: e5@v2}}", "mine.max_tokens=null", "scale=tiny")
    assert recipe.member("small").teacher is not None  # given beside the scale, it is taken as it is


@pytest.mark.parametrize("written", [{"endpoint": URL, "model": "e5@v2"}, "some/name"])
def test_scaling_down_leaves_models_from_outside_out(tmp_path: Path, written: Any) -> None:
    outside = written if isinstance(written, dict) else {"model": written}
    file = tmp_path / "asked.yaml"
    text = f"extends: {QUICKSTART}\nmine: {{model: {written}}}\nmembers:\n  - {{name: small, teacher: {outside}}}\n"
    file.write_text(text)
    assert isinstance(load_recipe(file).member("small").teacher, OutsideTeacher)
    tiny = load_recipe(file, ["scale=tiny"])
    assert tiny.member("small").teacher is None
    assert tiny.mine is not None
    assert tiny.mine.model == "base@backbone"


def test_a_miner_may_be_asked_at_an_endpoint_for_one_stage_too() -> None:
    recipe = quickstart(f"mine.refresh={{stage2: {{endpoint: '{URL}', model: e5}}}}")
    assert recipe.mine is not None
    settled = recipe.mine.for_stage("stage2").model
    assert isinstance(settled, OutsideModel)
    assert (settled.endpoint, settled.label) == (URL, "e5")
