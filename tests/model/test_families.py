"""One embedding everywhere, for every architecture: alone = in a batch = packed for training = sentence-transformers.

Texts are shorter and longer than the windows, and one is cut at the longest text.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from model.family_models import CAUSAL, CONFIGS, LONGEST, WORDS, save_plain, save_sentence_transformer, word_tokenizer
from polyglossa.engine.embedder import Embedder
from polyglossa.model.directory import load_model, save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.model.pooling import POOLINGS

_random = np.random.default_rng(7)
TEXTS = [
    "house",
    "tree river",
    "川 طائر дерево maison",
    "house moon moon",
    *(" ".join(_random.choice(WORDS, size)) for size in (5, 7, 8, 9, 10, 17, 33, 39, 60)),
    "",
]
# Attention of the length that goes through torch's kernel or blocks of queries, rather than through plain products.
LONG = [" ".join(_random.choice(WORDS, size)) for size in (700, 520, 12)]


def tokenizer_for(name: str):
    """What models of the kind have: a token before and one behind a text (encoders), or one behind it."""
    if name in CAUSAL:
        return word_tokenizer(behind="</s>")
    return word_tokenizer(before="<s>", behind="</s>")


def closest(ours: np.ndarray, theirs: np.ndarray) -> float:
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(1) / lengths).min())


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_gives_the_vectors_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    pooling = "lasttoken" if name in CAUSAL else "mean"
    path = save_sentence_transformer(tmp_path, CONFIGS[name](), tokenizer_for(name), pooling=pooling)
    encoder = Encoder.load(path)
    together = encoder.encode(TEXTS)
    theirs = SentenceTransformer(path, device="cpu").encode(TEXTS)
    np.testing.assert_allclose(together, theirs, atol=3e-6)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, together, atol=3e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_trains_on_the_states_that_it_is_read_with(name: str, tmp_path: Path) -> None:
    path = save_plain(tmp_path, CONFIGS[name](), tokenizer_for(name))
    encoder = Encoder.load(path, dtype="float64")
    token_ids = encoder.tokenize(TEXTS)
    embedder = Embedder(load_model(path), dtype="float64")
    found = embedder(torch.tensor([token for ids in token_ids for token in ids]), [len(ids) for ids in token_ids], 0)
    torch.testing.assert_close(found.float(), encoder.states(token_ids), rtol=1e-5, atol=1e-5)
    found.square().sum().backward()
    unused = {
        "token_type_embeddings",
        "position_embeddings",
    }  # BERT's second segment and places behind the longest text
    silent = [
        name for name, one in embedder.named_parameters() if one.grad is None and not unused & set(name.split("."))
    ]
    assert not silent


@pytest.mark.parametrize("name", ["gemma2", "gemma3-both-ways", "mistral", "modernbert", "qwen3", "qwen3-both-ways"])
def test_texts_longer_than_any_product_are_exact_too(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]()
    config.max_position_embeddings = 1024
    tokenizer = tokenizer_for(name)
    tokenizer.model_max_length = 1024
    pooling = "lasttoken" if name in CAUSAL else "mean"
    path = save_sentence_transformer(tmp_path, config, tokenizer, pooling=pooling, max_tokens=1024)
    theirs = SentenceTransformer(path, device="cpu").encode(LONG)
    np.testing.assert_allclose(Encoder.load(path).encode(LONG), theirs, atol=3e-6)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_shared_beginning_changes_no_vector(name: str, tmp_path: Path) -> None:
    encoder = Encoder.load(save_plain(tmp_path, CONFIGS[name](), tokenizer_for(name)))
    beginning = " ".join(WORDS) + " "
    texts = [beginning + text for text in TEXTS * 2]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode(texts), alone, atol=3e-6)
    np.testing.assert_allclose(encoder.encode(texts, chunk_tokens=64), alone, atol=3e-6)


@pytest.mark.parametrize("pooling", ["lasttoken", "mean", "cls", "weightedmean", "max", "mean_sqrt_len_tokens"])
@pytest.mark.parametrize("name", ["bert", "qwen3", "qwen3-both-ways"])
def test_every_pooling_is_read_and_written(name: str, pooling: str, tmp_path: Path) -> None:
    path = save_sentence_transformer(tmp_path, CONFIGS[name](), tokenizer_for(name), pooling=pooling)
    encoder = Encoder.load(path)
    theirs = SentenceTransformer(path, device="cpu").encode(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS), theirs, atol=3e-6)
    again = str(tmp_path / "again")
    save_model_directory(again, encoder.model, encoder.tokenizer, max_tokens=LONGEST, matryoshka_widths=[32])
    np.testing.assert_allclose(Encoder.load(again).encode(TEXTS), theirs, atol=3e-6)
    np.testing.assert_allclose(SentenceTransformer(again, device="cpu").encode(TEXTS), theirs, atol=3e-6)


@pytest.mark.parametrize("normalise", [True, False])
def test_dense_layers_and_prompts_survive_reading_and_writing(normalise: bool, tmp_path: Path) -> None:
    """EmbeddingGemma's form: Gemma 3 read both ways, mean pooling, two dense layers, prompts."""
    prompts = {"query": "house tree ", "document": "river "}
    path = save_sentence_transformer(
        tmp_path, CONFIGS["gemma3-both-ways"](), word_tokenizer(before="<s>", behind="</s>"),
        pooling="mean", dense=(48, 24), normalise=normalise, prompts=prompts,
    )  # fmt: skip
    encoder = Encoder.load(path)
    assert encoder.width == 24
    assert {name: encoder.prompts[name] for name in prompts} == prompts
    again = str(tmp_path / "again")
    save_model_directory(again, encoder.model, encoder.tokenizer, max_tokens=LONGEST, matryoshka_widths=[24])
    for folder in (path, again):
        other = SentenceTransformer(folder, device="cpu")
        ours = Encoder.load(folder)
        assert closest(ours.encode(TEXTS, prompt="query"), other.encode_query(TEXTS)) > 0.999999
        assert closest(ours.encode(TEXTS, prompt="document"), other.encode_document(TEXTS)) > 0.999999
        assert ours.description.normalise == normalise


def test_poolings_side_by_side_are_read_in_their_order(tmp_path: Path) -> None:
    for modes in (["cls", "mean"], ["mean", "cls"]):
        folder = tmp_path / "-".join(modes)
        path = save_sentence_transformer(folder, CONFIGS["bert"](), tokenizer_for("bert"), pooling=modes)
        encoder = Encoder.load(path)
        theirs = SentenceTransformer(path, device="cpu").encode(TEXTS)
        np.testing.assert_allclose(encoder.encode(TEXTS), theirs, atol=3e-6)
        again = str(folder / "again")
        save_model_directory(again, encoder.model, encoder.tokenizer, max_tokens=LONGEST, matryoshka_widths=[64])
        np.testing.assert_allclose(SentenceTransformer(again, device="cpu").encode(TEXTS), theirs, atol=3e-6)


def test_every_pooling_has_a_gradient_and_reads_its_own_text_alone() -> None:
    lengths_B = torch.tensor([3, 1, 4])
    hidden_ND = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    for name, pooling in POOLINGS.items():
        pool = pooling.pool
        assert torch.autograd.gradcheck(lambda hidden, pool=pool: pool(hidden, lengths_B), hidden_ND), name
        parts = torch.split(hidden_ND, lengths_B.tolist())
        alone = torch.cat([pool(part, torch.tensor([len(part)])) for part in parts])
        torch.testing.assert_close(pool(hidden_ND, lengths_B), alone)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_toys_tell_tokens_of_one_text_apart(name: str, tmp_path: Path) -> None:
    """Else a wrong pooling or a lost position would show in none of these tests."""
    path = save_plain(tmp_path, CONFIGS[name](), tokenizer_for(name))
    hidden = load_model(path).hidden_states(torch.tensor([5, 6, 7, 5, 8, 9, 10, 2]), [8])
    cosine = torch.nn.functional.cosine_similarity(hidden[:, None], hidden[None], dim=-1)
    assert float((cosine - torch.eye(8)).max()) < 0.9995
