"""EOS ends every text, also after truncation, whoever loads the tokenizer (a missing one silently ruins scores)."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from model.family_models import CONFIGS, save_plain, word_tokenizer
from polyglossa.errors import DataError
from polyglossa.model.directory import load_model, load_model_tokenizer
from polyglossa.model.instructions import render
from polyglossa.model.tokenizer import add_end_token, load_tokenizer, plain_tokenizer, train_tokenizer
from polyglossa.model.tokenizer_folder import tokenizer_fingerprint

_HERE = Path(__file__).resolve().parents[2]
QWEN3 = Path(os.environ.get("POLYGLOSSA_MODELS") or _HERE.parent / "shared" / "models") / "qwen3-tokenizer"


def test_long_and_empty_texts_end_with_eos_in_the_stock_tokenizer(model_path: str, texts: list[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    for limit in (2, 8, 48):
        encoded = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        assert all(tokens[-1] == tokenizer.eos_token_id and len(tokens) <= limit for tokens in encoded)
        assert all(tokens.count(tokenizer.eos_token_id) == 1 for tokens in encoded)
    assert tokenizer("", truncation=True)["input_ids"] == [tokenizer.eos_token_id]


def test_saved_tokenizer_gives_the_ids_it_was_trained_with(model_path: str, texts: list[str]) -> None:
    trained = train_tokenizer(texts * 4, vocabulary=400, max_tokens=48)
    stock = AutoTokenizer.from_pretrained(model_path)
    assert stock(texts, truncation=True)["input_ids"] == trained(texts, truncation=True)["input_ids"]
    assert stock.model_max_length == 48
    assert stock.padding_side == "right"


def test_any_text_can_be_written_and_read_back(model_path: str) -> None:
    tokenizer = load_tokenizer(model_path)
    text = "ꯃꯤꯇꯩ 𓀀  naïve\u200bé\n\t🙂"
    assert tokenizer.decode(tokenizer(text)["input_ids"][:-1]) == " " + text


def test_a_name_is_the_same_tokens_alone_and_behind_an_instruction(model_path: str) -> None:
    tokenizer = load_tokenizer(model_path)
    alone, behind = tokenizer("Germany")["input_ids"], tokenizer(render("Germany", "Find it."))["input_ids"]
    assert behind[-len(alone) :] == alone


def test_a_tokenizer_without_eos_in_its_post_processor_is_given_it_once(tmp_path: Path) -> None:
    backend = Tokenizer(models.BPE(vocab={"<|im_end|>": 0, "a": 1, "b": 2}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)  # as Qwen3 ships it
    plain = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", model_max_length=4)
    plain.save_pretrained(tmp_path / "plain")
    loaded = add_end_token(load_tokenizer(str(tmp_path / "plain")))
    assert loaded("abababab", truncation=True)["input_ids"] == [1, 2, 1, 0]
    loaded.save_pretrained(tmp_path / "again")
    assert add_end_token(load_tokenizer(str(tmp_path / "again")))("ab")["input_ids"] == [1, 2, 0]


def test_a_tokenizer_that_names_no_eos_is_refused(tmp_path: Path) -> None:
    backend = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="no EOS"):
        add_end_token(load_tokenizer(str(tmp_path)))


@pytest.mark.parametrize(
    ("before", "behind", "eos", "expected"),
    [
        (None, "<end>", "</s>", ["house", "tree", "<end>"]),  # Qwen3-Embedding: its end token is not its EOS
        ("<s>", None, "</s>", ["<s>", "house", "tree"]),  # Llama, Mistral, Gemma
        ("<s>", "</s>", "</s>", ["<s>", "house", "tree", "</s>"]),  # BERT, XLM-R
        (None, "</s>", "</s>", ["house", "tree", "</s>"]),
        (None, None, "</s>", ["house", "tree", "</s>"]),  # Qwen3: adds nothing, so it is given its EOS
    ],
)
def test_a_tokenizer_that_adds_special_tokens_stays_as_it_is(
    before: str | None, behind: str | None, eos: str, expected: list[str], tmp_path: Path
) -> None:
    word_tokenizer(before=before, behind=behind, eos=eos).save_pretrained(tmp_path / "own")
    own = add_end_token(load_tokenizer(str(tmp_path / "own")))
    plain_tokenizer(own, max_tokens=4).save_pretrained(tmp_path / "written")
    for tokenizer in (own, add_end_token(load_tokenizer(str(tmp_path / "written")))):
        assert tokenizer.convert_ids_to_tokens(tokenizer("house tree")["input_ids"]) == expected
    long = AutoTokenizer.from_pretrained(tmp_path / "written")(
        "house tree river moon stone bird", truncation=True, max_length=4
    )
    tokens = own.convert_ids_to_tokens(long["input_ids"])
    assert len(tokens) == 4
    assert (tokens[0] == before, tokens[-1] == (behind or (eos if before is None else tokens[-1]))) == (
        before is not None,
        True,
    )


def test_only_last_token_pooling_is_given_an_end_token(tmp_path: Path) -> None:
    for name, attention, expected in (("causal", None, [5, 6, 2]), ("both", "bidirectional", [5, 6])):
        path = save_plain(tmp_path / name, CONFIGS["qwen3"](), word_tokenizer())
        model = load_model(path, attention=attention)
        assert load_model_tokenizer(path, model)("house tree")["input_ids"] == expected


def test_a_written_tokenizer_names_a_class_that_every_release_of_transformers_has(model_path: str) -> None:
    written = json.loads((Path(model_path) / "tokenizer_config.json").read_text())
    assert written["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not isinstance(written.get("extra_special_tokens"), list)  # transformers 4 reads a dictionary


@pytest.mark.skipif(not QWEN3.is_dir(), reason="Qwen3's tokenizer is not here (POLYGLOSSA_MODELS)")
def test_qwen3_is_given_its_eos_and_qwen3_embedding_keeps_its_own_end_token(tmp_path: Path) -> None:
    assert add_end_token(load_tokenizer(str(QWEN3)))("hello world")["input_ids"] == [14990, 1879, 151645]
    shutil.copytree(QWEN3, tmp_path / "embedding")
    file = tmp_path / "embedding" / "tokenizer.json"
    content = json.loads(file.read_text())
    end = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [151643], "tokens": ["<|endoftext|>"]}},
    }
    content["post_processor"] = {"type": "Sequence", "processors": [content["post_processor"], template]}
    file.write_text(json.dumps(content))
    tokenizer = add_end_token(load_tokenizer(str(tmp_path / "embedding")))
    assert tokenizer.eos_token == "<|im_end|>"
    for each in (tokenizer, plain_tokenizer(tokenizer, max_tokens=512)):
        assert each("hello world")["input_ids"] == [14990, 1879, 151643]
        assert each("hello world " * 9, truncation=True, max_length=4)["input_ids"] == [14990, 1879, 23811, 151643]


def test_a_directory_made_here_is_read_as_autotokenizer_reads_it(model_path: str, texts: list[str]) -> None:
    stock, ours = AutoTokenizer.from_pretrained(model_path), load_tokenizer(model_path)
    assert type(ours) is type(stock)
    assert ours.special_tokens_map == stock.special_tokens_map
    assert ours.model_max_length == stock.model_max_length
    assert ours.truncation_side == stock.truncation_side
    assert tokenizer_fingerprint(ours) == tokenizer_fingerprint(stock)
    assert ours(texts)["input_ids"] == stock(texts)["input_ids"]
