"""One embedding everywhere: encoder = stock transformers = sentence-transformers, batch = single, every width."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from polyglossa.model.directory import load_model, save_model_directory
from polyglossa.model.encoder import Encoder, finish
from polyglossa.model.instructions import render


@pytest.fixture(scope="module")
def encoder(model_path: str) -> Encoder:
    return Encoder.load(model_path)


def test_packed_states_equal_those_of_a_text_alone(encoder: Encoder, texts: list[str]) -> None:
    token_ids = encoder.tokenize(texts)
    alone_ND = torch.cat([encoder.states([tokens]) for tokens in token_ids])
    for budget in (1, 64, 4096):
        together_ND = encoder.states(token_ids, chunk_tokens=budget)
        torch.testing.assert_close(together_ND, alone_ND, atol=1e-6, rtol=1e-6)


def test_sentence_transformers_gives_the_encoders_vectors(model_path: str, encoder: Encoder, texts: list[str]) -> None:
    stock = SentenceTransformer(model_path, device="cpu")
    np.testing.assert_allclose(stock.encode(texts), encoder.encode(texts), atol=1e-6)
    prompted = stock.encode(texts, prompt_name="query", truncate_dim=8, normalize_embeddings=True)
    np.testing.assert_allclose(prompted, encoder.encode(texts, instruction="Find it.", width=8), atol=1e-6)


def test_a_default_prompt_goes_before_texts_for_which_none_is_named(
    tmp_path: Path, model_path: str, texts: list[str]
) -> None:
    prompts = {"document": "Passage: ", "query": ""}
    encoder = Encoder.load(model_path)
    encoder.model.description = replace(encoder.description, prompts=prompts, default_prompt="document")
    longest = encoder.max_tokens
    save_model_directory(tmp_path / "model", encoder.model, encoder.tokenizer, max_tokens=longest, matryoshka_widths=[])
    stock = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(stock.encode(texts), encoder.encode(texts), atol=1e-6)
    np.testing.assert_allclose(stock.encode(texts, prompt=""), encoder.encode(texts, instruction=""), atol=1e-6)
    np.testing.assert_allclose(
        stock.encode(texts, prompt_name="query"), encoder.encode(texts, prompt="query"), atol=1e-6
    )
    assert not np.allclose(encoder.encode(texts), encoder.encode(texts, instruction=""), atol=1e-3)


@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_stock_transformers_gives_the_encoders_states(
    model_path: str, encoder: Encoder, texts: list[str], padding_side: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_path, padding_side=padding_side)
    batch = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
    hidden_NLD = AutoModel.from_pretrained(model_path)(**batch).last_hidden_state
    last_N = batch["attention_mask"].sum(1) - 1 if padding_side == "right" else torch.full((len(texts),), -1)
    state_ND = hidden_NLD[torch.arange(len(texts)), last_N].detach()
    torch.testing.assert_close(encoder.states(encoder.tokenize(texts)), state_ND, atol=2e-6, rtol=1e-5)


def test_each_width_is_the_renormalised_prefix(encoder: Encoder, texts: list[str]) -> None:
    state_ND = encoder.states(encoder.tokenize(texts))
    for width in (8, 16, 32):
        expected = state_ND[:, :width] / state_ND[:, :width].norm(dim=1, keepdim=True)
        np.testing.assert_allclose(encoder.encode(texts, width=width), expected.numpy(), atol=1e-6)
    for width in (0, -1, 33):
        with pytest.raises(ValueError, match="width"):
            finish(state_ND, width)


def test_fingerprint_follows_what_shapes_a_state(model_path: str, encoder: Encoder) -> None:
    assert Encoder.load(model_path).fingerprint == encoder.fingerprint
    assert Encoder.load(model_path, max_tokens=16).fingerprint != encoder.fingerprint
    assert Encoder.load(model_path, dtype="bfloat16").fingerprint != encoder.fingerprint
    changed = Encoder.load(model_path)
    with torch.no_grad():
        changed.backbone.norm.weight[0] += 1e-3
    assert changed.fingerprint != encoder.fingerprint


def test_states_come_back_in_order_and_nothing_comes_from_nothing(encoder: Encoder, texts: list[str]) -> None:
    forward = encoder.encode(texts)
    np.testing.assert_allclose(encoder.encode(texts[::-1])[::-1], forward, atol=1e-6)
    assert encoder.encode([]).shape == (0, 32)
    assert forward.dtype == np.float32


def test_gradient_reaches_only_the_tokens_that_are_read(model_path: str) -> None:
    model = load_model(model_path)
    model(torch.tensor([5, 6, 1, 7, 1]), [3, 2]).sum().backward()
    gradient = model.backbone.embed_tokens.weight.grad
    assert set(gradient.abs().sum(1).nonzero().flatten().tolist()) == {1, 5, 6, 7}


def test_instruction_is_rendered_before_the_text() -> None:
    assert render("x", "Find it.") == "Instruct: Find it.\nQuery: x"
    assert render("x", None) == "x"


def test_what_cannot_be_embedded_is_said(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="give a list of texts"):
        encoder.encode("Germany")
    with pytest.raises(ValueError, match="prompt: 'search' is not one of query"):
        encoder.encode(["Germany"], prompt="search")
    with pytest.raises(ValueError, match="not both"):
        encoder.encode(["Germany"], prompt="query", instruction="Find it.")
    for odd in (None, float("nan"), 1):
        with pytest.raises(ValueError, match=rf"texts\[1\]: got {odd}; every text is a str"):
            encoder.encode(["Germany", odd])  # type: ignore[list-item]  # as a table with a hole gives it
    with pytest.raises(ValueError, match=r"texts\[0\]: holds half of a surrogate pair"):
        encoder.encode(["\ud800"])
    with pytest.raises(ValueError, match="dtype: 'float8' is not one of float32"):
        Encoder.load("/nowhere", dtype="float8")
    np.testing.assert_array_equal(
        encoder.encode(["Germany"], prompt="query"), encoder.encode(["Germany"], instruction="Find it.")
    )
