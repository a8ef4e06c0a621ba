"""Any model is read by one source: a member of the family, and models with other pooling and their own prompts."""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from model.family_models import CONFIGS, save_sentence_transformer, word_tokenizer
from polyglossa.embedding.state_sources import EncoderSource, open_model
from polyglossa.errors import DataError
from polyglossa.vectors import finish

TEXTS = ["river stone", "moon", "house tree " * 9, "川 طائر", "", "cloud river"]


def open_cpu(path: str, max_tokens: int | None = None, dtype: str = "float32") -> EncoderSource:
    return open_model(path, dtype=dtype, device="cpu", max_tokens=max_tokens)


@pytest.fixture(scope="module")
def mean_pooled(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_sentence_transformer(
        tmp_path_factory.mktemp("bert"), CONFIGS["bert"](), word_tokenizer(before="<s>", behind="</s>"),
        pooling="mean", prompts={"query": "house ", "document": "tree "},
    )  # fmt: skip


def test_a_mean_pooled_model_gives_its_own_vectors_and_prompts(mean_pooled: str) -> None:
    source = open_cpu(mean_pooled)
    assert source.prompts == {"query": "house ", "document": "tree "}
    states = source.embed(["house " + text for text in TEXTS])
    expected = SentenceTransformer(mean_pooled, device="cpu").encode(TEXTS, prompt_name="query")
    assert not np.allclose(np.linalg.norm(states, axis=1), 1)
    np.testing.assert_allclose(finish(states), expected, atol=1e-5)


def test_the_longest_text_and_the_precision_are_part_of_the_fingerprint(mean_pooled: str) -> None:
    sources = (open_cpu(mean_pooled), open_cpu(mean_pooled, max_tokens=8), open_cpu(mean_pooled, dtype="bfloat16"))
    assert len({source.fingerprint for source in sources}) == 3
    assert sources[0].fingerprint == open_cpu(mean_pooled).fingerprint


def test_a_path_without_a_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be loaded"):
        open_cpu(str(tmp_path / "nothing"))
