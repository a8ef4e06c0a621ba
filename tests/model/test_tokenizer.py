"""EOS ends every text, also after truncation, whoever loads the tokenizer (a missing one silently ruins scores)."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from polyglossa.errors import DataError
from polyglossa.model.encoder import render
from polyglossa.model.tokenizer import load_tokenizer, train_tokenizer


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
    loaded = load_tokenizer(str(tmp_path / "plain"))
    assert loaded("abababab", truncation=True)["input_ids"] == [1, 2, 1, 0]
    loaded.save_pretrained(tmp_path / "again")
    assert load_tokenizer(str(tmp_path / "again"))("ab")["input_ids"] == [1, 2, 0]


def test_a_tokenizer_that_names_no_eos_is_refused(tmp_path: Path) -> None:
    backend = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="no EOS"):
        load_tokenizer(str(tmp_path))
