"""The backbone stage: seen texts are the training part's alone; shape or name, one kind of directory comes out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from polyglossa.artifact import Artifact, Draft
from polyglossa.backbone import run as stage
from polyglossa.backbone.texts import training_texts
from polyglossa.errors import DataError
from polyglossa.model.encoder import Encoder
from polyglossa.model.instructions import render
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.backbone import BackboneConfig

SHAPE = {"hidden": 16, "mlp": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8}
NEW = BackboneConfig.model_validate({"shape": SHAPE, "tokenizer": {"vocabulary": 300}, "max_tokens": 24, "seed": 5})


def make(config: BackboneConfig, corpus: Artifact, folder: Path) -> Draft:
    draft = Draft(str(folder))
    stage.run(config, {"corpus": corpus}, draft, StagePlacement())
    return draft


def test_tokenizer_reads_each_training_text_once_and_no_other(corpus: Artifact) -> None:
    texts = list(training_texts(corpus, 1000))
    told = render("スウェーデン", "Find it.")  # the source's queries carry an instruction
    expected = ["Alemania", "Allemagne", "Germany", told, "Neverland", "Sweden", "Σουηδία"]
    assert sorted(texts) == sorted(expected)


def test_new_model_has_the_recipes_shape_and_counts(corpus: Artifact, tmp_path: Path) -> None:
    draft = make(NEW, corpus, tmp_path / "out")
    assert NEW.shape is not None
    assert draft.counts == {
        "parameters": NEW.shape.parameters(300),
        "vocabulary": 300,
        "hidden": 16,
        "tokenizer_texts": 7,
    }
    encoder = Encoder.load(draft.at("model"))
    assert (encoder.width, encoder.max_tokens) == (16, 24)
    assert encoder.backbone.config.is_matryoshka is False


def test_same_config_gives_the_same_model_and_another_seed_another(corpus: Artifact, tmp_path: Path) -> None:
    other = BackboneConfig.model_validate(NEW.model_dump() | {"seed": 6})
    paths = [make(config, corpus, tmp_path / str(i)).at("model") for i, config in enumerate((NEW, NEW, other))]
    first, again, seeded = (Encoder.load(path).fingerprint for path in paths)
    assert first == again != seeded


def test_named_model_becomes_the_same_kind_of_directory(corpus: Artifact, tmp_path: Path) -> None:
    source = make(NEW, corpus, tmp_path / "source").at("model")
    named = BackboneConfig.model_validate({"model": source, "max_tokens": 12})
    encoder = Encoder.load(make(named, corpus, tmp_path / "named").at("model"))
    np.testing.assert_array_equal(encoder.encode(["Germany"]), Encoder.load(source, max_tokens=12).encode(["Germany"]))
    assert encoder.max_tokens == 12


def test_the_lm_head_of_a_named_model_is_left_out(corpus: Artifact, tmp_path: Path) -> None:
    source = Path(make(NEW, corpus, tmp_path / "source").at("model"))
    torch.manual_seed(0)
    config = Qwen3Config.from_pretrained(source, tie_word_embeddings=True)
    Qwen3ForCausalLM(config).save_pretrained(source)
    draft = make(BackboneConfig.model_validate({"model": str(source), "max_tokens": 24}), corpus, tmp_path / "out")
    assert NEW.shape is not None
    assert draft.counts["parameters"] == NEW.shape.parameters(300)


def test_texts_longer_than_the_named_model_reads_are_refused(corpus: Artifact, tmp_path: Path) -> None:
    source = make(NEW, corpus, tmp_path / "source").at("model")
    with pytest.raises(DataError, match="at most 24 tokens"):
        make(BackboneConfig.model_validate({"model": source, "max_tokens": 25}), corpus, tmp_path / "out")
