"""Protects recipes that extend one another: only what differs is written, and what it becomes is the whole recipe."""

from pathlib import Path

import pytest

from polyglossa.errors import RecipeError
from polyglossa.recipe import load_recipe
from polyglossa.recipe.extend import merge

QUICKSTART = Path(__file__).parents[2] / "jobs/recipes/quickstart.yaml"


def write(folder: Path, text: str) -> Path:
    (folder / "base.yaml").write_text(QUICKSTART.read_text())
    (folder / "more.yaml").write_text(text)
    return folder / "more.yaml"


def test_what_is_named_changes_and_the_rest_stays(tmp_path: Path) -> None:
    text = "extends: base.yaml\nname: more\nmembers:\n  - {name: small, epochs: 3}\ntraining: {stage1: {steps: 7}}\n"
    changed, base = load_recipe(write(tmp_path, text)), load_recipe(QUICKSTART)
    assert (changed.name, changed.member("small").epochs, changed.training["stage1"].steps) == ("more", 3, 7)
    assert changed.member("base") == base.member("base")
    assert changed.training["stage2"] == base.training["stage2"]


def test_overrides_come_last(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: base.yaml\ntraining: {stage1: {steps: 7}}\n")
    assert load_recipe(path, ["training.stage1.steps=9"]).training["stage1"].steps == 9


def test_lists_of_named_things_merge_by_name_and_others_are_replaced() -> None:
    assert merge([{"name": "a", "x": 1}], [{"name": "b"}, {"name": "a", "y": 2}]) == [
        {"name": "a", "x": 1, "y": 2},
        {"name": "b"},
    ]
    assert merge({"x": [1, 2]}, {"x": [3]}) == {"x": [3]}


def test_a_file_that_extends_itself_or_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(write(tmp_path, "extends: more.yaml\n"))
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(write(tmp_path, "extends: nothing.yaml\n"))
    with pytest.raises(RecipeError, match="Give the path of a recipe"):
        load_recipe(write(tmp_path, "extends: 3\n"))


def test_a_wrong_key_of_the_change_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'epochs'"):
        load_recipe(write(tmp_path, "extends: base.yaml\nmembers: [{name: small, epoch: 3}]\n"))


def test_entries_are_left_out_by_their_path_even_where_names_hold_dots(tmp_path: Path) -> None:
    base = write(tmp_path, "extends: base.yaml\nwithout: [members.small, expect.stages.stage1]\n")
    recipe = load_recipe(base)
    assert [member.name for member in recipe.members] == ["base"]
    assert recipe.expect is not None
    assert "stage1" not in recipe.expect.stages
    (tmp_path / "dotted.yaml").write_text("extends: more.yaml\nmembers:\n  - {name: base, learning_rate: 1.0e-3}\n")
    (tmp_path / "less.yaml").write_text("extends: dotted.yaml\nwithout: [members.base.learning_rate]\n")
    assert load_recipe(tmp_path / "less.yaml").member("base").learning_rate is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: base.yaml\nwithout: [members.nobody]\n", "without: members.nobody: the extended file has no such"),
        ("extends: base.yaml\nwithout: members.small\n", "List the paths of entries"),
        ("without: [members.small]\nname: more\n", "Give `extends` too"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, text))
