"""BERT-like encoders are backbones too: one embedding alone, in a batch, packed for training and in other libraries."""

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from polyglossa.engine.embedder import Embedder
from polyglossa.model.directory import describe_directory, load_model, save_model_directory
from polyglossa.model.encoder import Encoder
from polyglossa.model.forward import TextModel

WORDS = ["house", "tree", "river", "cloud", "stone", "bird", "fish", "moon"]
TEXTS = ["house tree", "river", "cloud stone bird fish moon house", "moon moon moon"]
SHAPE = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 40,
}


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    first, last, pad, unknown = (
        ("[CLS]", "[SEP]", "[PAD]", "[UNK]") if kind == "bert" else ("<s>", "</s>", "<pad>", "<unk>")
    )
    specials = [pad, first, last, unknown] if kind == "bert" else [first, pad, last, unknown]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*specials, *WORDS])}, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    ids = [(token, backend.token_to_id(token)) for token in (first, last)]
    backend.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ids)
    names = {"cls_token": first, "sep_token": last, "pad_token": pad, "unk_token": unknown, "model_max_length": 32}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, **({} if kind == "bert" else {"eos_token": last}))


@pytest.fixture(params=["bert", "xlm-roberta"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A published encoder as the hub has it, with pooler and dropout."""
    torch.manual_seed(0)
    if request.param == "bert":
        model = BertModel(BertConfig(**SHAPE, pad_token_id=0))
    else:
        model = XLMRobertaModel(XLMRobertaConfig(**SHAPE, pad_token_id=1))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "hub")
    tokenizer_of(request.param).save_pretrained(tmp_path / "hub")
    return str(tmp_path / "hub")


def test_the_state_of_a_text_is_its_mean_token_whatever_stands_beside_it(path: str) -> None:
    encoder = Encoder.load(path)
    token_ids = encoder.tokenize(TEXTS)
    assert all(tokens[-1] == encoder.tokenizer.sep_token_id for tokens in token_ids)
    together = encoder.states(token_ids)
    stock = AutoModel.from_pretrained(path).eval()
    for tokens, state in zip(token_ids, together, strict=True):
        with torch.inference_mode():
            alone = stock(input_ids=torch.tensor([tokens])).last_hidden_state[0].mean(0)
        torch.testing.assert_close(state, alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(encoder.embed(TEXTS * 10)[:4], together, rtol=1e-5, atol=1e-5)


def test_packed_for_training_it_is_the_same(path: str) -> None:
    encoder = Encoder.load(path)
    token_ids = encoder.tokenize(TEXTS)
    expected = encoder.states(token_ids)
    embedder = Embedder(load_model(path), dtype="float32")
    tokens_N = torch.tensor([token for tokens in token_ids for token in tokens])
    got = embedder(tokens_N, [len(tokens) for tokens in token_ids], 0)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    got.square().sum().backward()
    silent = [name for name, parameter in embedder.named_parameters() if parameter.grad is None]
    assert not silent


def test_its_directory_gives_the_same_vectors_in_sentence_transformers(path: str, tmp_path: Path) -> None:
    encoder = Encoder.load(path)
    save_model_directory(
        str(tmp_path / "out"),
        TextModel.of(encoder.backbone, prompts={"query": "find "}),
        encoder.tokenizer,
        max_tokens=32,
        matryoshka_widths=[8, 16],
    )
    again = Encoder.load(str(tmp_path / "out"))
    expected = torch.from_numpy(encoder.encode(TEXTS))
    torch.testing.assert_close(torch.from_numpy(again.encode(TEXTS)), expected, rtol=1e-5, atol=1e-5)
    other = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(other, expected, rtol=1e-5, atol=1e-5)
    assert describe_directory(str(tmp_path / "out"))[0].prompts == {"query": "find "}
