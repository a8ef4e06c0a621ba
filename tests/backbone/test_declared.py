"""Protects promise 5 for models by name: what the recipe says of them is checked, and shared tokenizers are equal."""

from pathlib import Path

import pytest

from polyglossa.artifact import Artifact, Draft
from polyglossa.backbone import run as stage
from polyglossa.errors import DataError
from polyglossa.model.tokenizer import load_tokenizer
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.backbone import BackboneConfig

SHAPE = {"hidden": 16, "mlp": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8}


def config(**changes: object) -> BackboneConfig:
    return BackboneConfig.model_validate({"shape": SHAPE, "tokenizer": {"vocabulary": 300}, "max_tokens": 24} | changes)


def make(backbone: BackboneConfig, corpus: Artifact, folder: Path, **inputs: Artifact) -> Artifact:
    draft = Draft(str(folder))
    stage.run(backbone, {"corpus": corpus, **inputs}, draft, StagePlacement())
    return Artifact(draft.uri, {"counts": draft.counts})


def test_a_model_by_name_that_is_what_the_recipe_says_is_taken(corpus: Artifact, tmp_path: Path) -> None:
    source = make(config(), corpus, tmp_path / "source").at("model")
    made = make(config(model=source), corpus, tmp_path / "named")
    assert made.counts["parameters"] == config().parameters


def test_a_model_by_name_that_is_another_is_refused_with_both_counts(corpus: Artifact, tmp_path: Path) -> None:
    source = make(config(), corpus, tmp_path / "source").at("model")
    with pytest.raises(DataError, match=r"has [\d,]+ parameters \(width 16, 2 layers, 300 tokens\).*says [\d,]+"):
        make(config(model=source, shape={**SHAPE, "layers": 3}), corpus, tmp_path / "named")


def test_a_new_backbone_takes_over_the_tokenizer_that_it_reads_with(corpus: Artifact, tmp_path: Path) -> None:
    first = make(config(), corpus, tmp_path / "first")
    second = make(config(shape={**SHAPE, "hidden": 24}), corpus, tmp_path / "second", tokenizer=first)
    ours, theirs = (load_tokenizer(made.at("model")).backend_tokenizer.to_str() for made in (first, second))
    assert ours == theirs
    assert "tokenizer_texts" not in second.counts


def test_a_model_by_name_with_another_tokenizer_does_not_share_packed_data(corpus: Artifact, tmp_path: Path) -> None:
    first = make(config(), corpus, tmp_path / "first")
    other = make(config(tokenizer={"vocabulary": 301}), corpus, tmp_path / "other").at("model")
    named = BackboneConfig.model_validate({"model": other, "max_tokens": 24})
    with pytest.raises(DataError, match="not the one that `reads_with` names"):
        make(named, corpus, tmp_path / "named", tokenizer=first)
