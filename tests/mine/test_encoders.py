"""Any encoder serves: the family's own, and sentence-transformers models with other pooling and their own prompts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from transformers import BertConfig, BertModel

from polyglossa.errors import DataError
from polyglossa.mine.encoders import FamilyEncoder, SentenceTransformerEncoder, StateEncoder, open_encoder
from polyglossa.model.encoder import Encoder
from polyglossa.vectors import finish

TEXTS = ["river stone", "paper", "вода ночь " * 9, "猫 本", "x" * 90, "cloud river"]


def open_cpu(path: str, max_tokens: int | None = None) -> StateEncoder:
    return open_encoder(path, dtype="float32", device="cpu", max_tokens=max_tokens)


@pytest.fixture(scope="module")
def mean_pooled(tiny_model, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny BERT with mean pooling, saved by sentence-transformers."""
    backbone, path = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("mean")
    tokenizer = Encoder.load(tiny_model()).tokenizer
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertModel(config).save_pretrained(backbone)
    tokenizer.save_pretrained(backbone)
    modules = [Transformer(str(backbone), max_seq_length=48), Pooling(32, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, prompts={"query": "query: ", "document": "passage: "}).save(str(path))
    return str(path)


def test_a_member_of_the_family_goes_through_the_family_encoder(tiny_model):
    path = tiny_model()
    encoder = open_cpu(path)
    assert isinstance(encoder, FamilyEncoder)
    np.testing.assert_allclose(finish(encoder.embed(TEXTS)), Encoder.load(path).encode(TEXTS), atol=1e-6)


def test_a_mean_pooled_model_gives_its_own_vectors_and_prompts(mean_pooled):
    encoder = open_cpu(mean_pooled)
    assert isinstance(encoder, SentenceTransformerEncoder)
    assert encoder.prompts == {"query": "query: ", "document": "passage: "}
    states = encoder.embed(["query: " + text for text in TEXTS])
    expected = SentenceTransformer(mean_pooled).encode(TEXTS, prompt_name="query")
    assert not np.allclose(np.linalg.norm(states, axis=1), 1)
    np.testing.assert_allclose(finish(states), expected, atol=1e-5)


def test_the_longest_text_and_the_precision_are_part_of_the_fingerprint(mean_pooled, tiny_model):
    for path in (mean_pooled, tiny_model()):
        full, short = open_cpu(path), open_cpu(path, max_tokens=8)
        rough = open_encoder(path, dtype="bfloat16", device="cpu", max_tokens=None)
        assert len({full.fingerprint, short.fingerprint, rough.fingerprint}) == 3
        assert full.fingerprint == open_cpu(path).fingerprint


def test_a_path_without_a_model_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="cannot be loaded"):
        open_cpu(str(Path(tmp_path) / "nothing"))
