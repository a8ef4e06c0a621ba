"""A model from outside gives sentence-transformers' vectors, or it is refused before anything is used."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.family_models import CONFIGS, save_plain, save_sentence_transformer, word_tokenizer
from polyglossa.embedding import parity
from polyglossa.embedding.parity import check_parity
from polyglossa.errors import DataError
from polyglossa.model.encoder import Encoder
from polyglossa.model.pooling import POOLINGS, pool_first


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_sentence_transformer(
        tmp_path_factory.mktemp("foreign"), CONFIGS["bert"](), word_tokenizer(before="<s>", behind="</s>"),
        pooling="mean", prompts={"query": "house "},
    )  # fmt: skip


def test_a_model_that_agrees_is_compared_once_and_the_finding_kept(
    foreign: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = check_parity(foreign, root=str(tmp_path))
    assert found.cosine >= 0.99999
    assert [file.name for file in (tmp_path / "parity").iterdir()] == [f"{Encoder.load(foreign).fingerprint}.json"]
    monkeypatch.setattr(parity, "_compare", lambda *_: pytest.fail("compared again"))
    assert check_parity(foreign, root=str(tmp_path)) == found


def test_a_model_that_disagrees_is_refused_with_text_values_and_cause(
    foreign: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POOLINGS, "mean", replace(POOLINGS["mean"], pool=pool_first))
    with pytest.raises(DataError, match=r"has cosine .* begin \[.*\] here and \[.*\] there. Likely cause: the tok"):
        check_parity(foreign, root=str(tmp_path))
    assert not (tmp_path / "parity").exists()


def test_a_model_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    path = save_plain(tmp_path / "model", CONFIGS["qwen3"](), word_tokenizer(behind="</s>"))
    file = Path(path, "model.safetensors")
    weights = load_file(file)
    weights["norm.weight"] = torch.full_like(weights["norm.weight"], float("nan"))
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"cosine -1\.0"):
        check_parity(path, root=str(tmp_path))


@pytest.mark.parametrize("name", ["qwen3", "qwen3-both-ways", "mistral", "xlm-roberta"])
def test_a_model_that_says_nothing_of_its_pooling_is_held_to_its_architectures(name: str, tmp_path: Path) -> None:
    path = save_plain(tmp_path / "model", CONFIGS[name](), word_tokenizer())
    assert check_parity(path, root=str(tmp_path)).cosine >= 0.99999


def test_the_panel_holds_scripts_blanks_long_texts_and_every_prompt(foreign: str) -> None:
    encoder = Encoder.load(foreign)
    texts = parity.panel(encoder, 40)
    assert {"", "   "} <= set(texts)
    assert any(text.startswith("house ") for text in texts)
    assert max(len(encoder.tokenizer(text)["input_ids"]) for text in texts) > 40
