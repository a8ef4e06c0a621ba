"""Protects what adding takes: a pooling or an architecture is one entry of a table, and every part reads it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from sentence_transformers import SentenceTransformer
from torch import Tensor

from model.family_models import CONFIGS, save_plain, save_sentence_transformer, word_tokenizer
from polyglossa.errors import DataError
from polyglossa.model.directory import load_model, save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.model.families import FAMILIES, Family
from polyglossa.model.pooling import POOLINGS, Pooling, pool_first, pool_last

TEXTS = ["house", "tree river", "川 طائر дерево maison", "house moon " * 9]


def pool_ends(hidden_ND: Tensor, lengths_B: Tensor) -> Tensor:
    """Take the mean of a text's first and last token."""
    return (pool_first(hidden_ND, lengths_B) + pool_last(hidden_ND, lengths_B)) / 2


def test_an_added_pooling_is_trained_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POOLINGS, "ends", Pooling(pool_ends))
    model = load_model(save_plain(tmp_path / "plain", CONFIGS["qwen3"](), word_tokenizer(behind="</s>")))
    model.description = replace(model.description, pooling=("ends",))
    folder = str(tmp_path / "ours")
    save_model_directory(folder, model, word_tokenizer(behind="</s>"), max_tokens=40, matryoshka_widths=[32])
    encoder = Encoder.load(folder)
    assert encoder.description.pooling == ("ends",)
    token_ids = encoder.tokenize(TEXTS)
    tokens_N, lengths = torch.tensor([token for ids in token_ids for token in ids]), [len(ids) for ids in token_ids]
    expected = pool_ends(encoder.model.hidden_states(tokens_N, lengths), torch.tensor(lengths))
    torch.testing.assert_close(encoder.states(token_ids), expected.float(), rtol=1e-5, atol=1e-5)


def test_an_added_architecture_gives_the_vectors_of_sentence_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = {
        "vocab_size": 17, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2,
    }  # fmt: skip
    path = save_sentence_transformer(
        tmp_path, hf.Starcoder2Config(**shape), word_tokenizer(behind="</s>"), pooling="lasttoken"
    )
    with pytest.raises(DataError, match="starcoder2: not an architecture whose packed forward pass is known"):
        Encoder.load(path)
    monkeypatch.setitem(FAMILIES, "starcoder2", Family())
    theirs = SentenceTransformer(path, device="cpu").encode(TEXTS)
    np.testing.assert_allclose(Encoder.load(path).encode(TEXTS), theirs, atol=3e-6)
