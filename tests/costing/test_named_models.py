"""Protects plans of models that a recipe names: counted by the files that are there, whatever the architecture."""

import shutil
from pathlib import Path

import pytest
import transformers

from model.family_models import CONFIGS, save_sentence_transformer, word_tokenizer
from polyglossa.costing.family import Family
from polyglossa.costing.flops import linear_parameters
from polyglossa.costing.named_models import measure_model
from polyglossa.errors import DataError, RecipeError
from polyglossa.pipeline.build import build
from polyglossa.recipe import Recipe
from polyglossa.recipe.load import load_recipe
from scaffold.own_files import questions, started, tiny_model, write


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "modernbert", "qwen3", "llama", "gemma3"])
def test_a_model_is_counted_to_its_last_parameter_and_its_products_are_its_own(tmp_path: Path, name: str) -> None:
    model = transformers.AutoModel.from_config(CONFIGS[name]())
    model.save_pretrained(tmp_path)
    found = measure_model(str(tmp_path))
    assert found is not None
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    matrices = [one for one in model.modules() if type(one).__name__ == "Linear"]
    inside = sum(one.weight.numel() for one in matrices) - (32 * 32 if hasattr(model, "pooler") and model.pooler else 0)
    # A gated MLP of the same entries: a third of a column's rows is the most that rounding moves, a layer.
    assert abs(linear_parameters(found.shape) - inside) <= found.shape.layers * 3 * 32 / 2
    assert (found.shape.hidden, found.shape.layers, found.shape.heads) == (32, 3, 4)


def test_a_qwen3_by_name_has_its_own_shape(tmp_path: Path) -> None:
    config = CONFIGS["qwen3"]()
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    found = measure_model(str(tmp_path))
    assert found is not None
    shape = found.shape
    assert (shape.mlp, shape.kv_heads, shape.head_dim) == (
        config.intermediate_size, config.num_key_value_heads, config.head_dim,
    )  # fmt: skip
    assert shape.parameters(found.vocabulary) == found.parameters


def test_the_module_of_a_sentence_transformers_folder_is_found(tmp_path: Path) -> None:
    folder = save_sentence_transformer(
        tmp_path, CONFIGS["bert"](), word_tokenizer(before="<s>", behind="</s>"), pooling="mean"
    )
    found = measure_model(folder)
    assert found is not None
    assert found.shape.layers == 3


def recipe_of(folder: Path, model: str) -> Recipe:
    said: list[str] = []
    started(folder, [write(folder, "faq.jsonl", questions(120))], model, said, student=True)
    return load_recipe(folder / "mine.yaml")


def test_what_init_writes_can_be_planned_before_anything_is_made(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    recipe = recipe_of(tmp_path, model)
    family = Family(recipe, build(recipe).nodes)
    counts = family.packs["pack.tuned.own"]
    heldout = 24  # of 120 questions
    assert 120 - 2 * heldout <= counts.rows < 120
    assert family.parameters_of("tuned") > family.table_of("tuned") > 0
    assert family.shape_of("small").layers == 1
    assert family.parameters_of("small") < family.parameters_of("tuned")


def test_a_model_that_is_not_here_is_named_with_what_to_do(tmp_path: Path) -> None:
    model = tmp_path / "model"
    recipe = recipe_of(tmp_path, tiny_model(model))
    shutil.rmtree(model)
    measure_model.cache_clear()
    with pytest.raises(RecipeError, match=r"members\.tuned: .* is no directory here .*fetch it, or write `shape`"):
        Family(recipe, build(recipe).nodes).shape_of("tuned")


def test_a_file_that_is_no_safetensors_file_is_named(tmp_path: Path) -> None:
    transformers.AutoModel.from_config(CONFIGS["bert"]()).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"model\.safetensors: is no safetensors file"):
        measure_model(str(tmp_path))
