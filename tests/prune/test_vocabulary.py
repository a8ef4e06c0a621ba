"""A smaller vocabulary writes any text, spells what it can as before, and costs no language more than its guard."""

import copy
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from babel import Locale
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from polyglossa.artifact import Artifact, ArtifactKey, Draft, produce
from polyglossa.errors import UserError
from polyglossa.model.tokenizer import train_tokenizer
from polyglossa.prune.language_texts import corpus_files, join_samples, sample_texts
from polyglossa.prune.plan import PrunePlan
from polyglossa.prune.student import choose_tokens, shrunk
from polyglossa.prune.surgery import prune_model, sizes_of
from polyglossa.prune.tokenizer_json import close, parts_of, shrink_tokenizer
from polyglossa.prune.vocabulary import Shrinker, Usage
from polyglossa.recipe.sections.prune import VocabularyConfig
from polyglossa.records import DOCUMENT, PAIR, text_id

LANGUAGES = ("en", "de", "sw", "ru", "ja", "am")


def names(language: str) -> list[str]:
    return sorted(Locale.parse(language).territories.values()) + sorted(Locale.parse(language).languages.values())


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    texts = [name for language in (*LANGUAGES, "hi", "el", "tr") for name in names(language)]
    return train_tokenizer(texts, vocabulary=3000, max_tokens=32)


@pytest.fixture(scope="module")
def usage(tokenizer: PreTrainedTokenizerFast) -> Usage:
    counted = Usage()
    for language in LANGUAGES:
        counted.read(tokenizer.backend_tokenizer, language, names(language))
    return counted


@pytest.fixture(scope="module")
def content(tokenizer: PreTrainedTokenizerFast) -> dict:
    return json.loads(tokenizer.backend_tokenizer.to_str())


@pytest.fixture(scope="module")
def shrinker(content: dict, usage: Usage) -> Shrinker:
    return Shrinker(content, usage)


@pytest.fixture(scope="module")
def kept(shrinker: Shrinker) -> list[int]:
    return shrinker.choose(1500, max_growth=0.25)


@pytest.fixture(scope="module")
def small(tokenizer: PreTrainedTokenizerFast, kept: list[int]) -> PreTrainedTokenizerFast:
    return shrunk(tokenizer, kept)


def test_the_size_asked_for_is_the_size_got(small: PreTrainedTokenizerFast, kept: list[int]) -> None:
    assert len(small) == len(kept) == 1500
    assert sorted(small.get_vocab().values()) == list(range(1500))


def test_no_language_grows_beyond_its_guard(
    tokenizer: PreTrainedTokenizerFast, small: PreTrainedTokenizerFast, shrinker: Shrinker, kept: list[int]
) -> None:
    for language, cost in shrinker.cost(kept).items():
        before, after = (sum(len(t(name).input_ids) - 1 for name in names(language)) for t in (tokenizer, small))
        assert (cost.tokens_before, cost.tokens_after) == (before, after), language
        assert after <= before * 1.25, language


def test_the_guard_moves_tokens_to_the_language_that_needs_them(shrinker: Shrinker) -> None:
    plain = shrinker.cost(shrinker.rank(1500, dict.fromkeys(LANGUAGES, 1.0)))
    worst = max(cost.growth for cost in plain.values())
    guarded = shrinker.cost(shrinker.choose(1500, max_growth=worst * 0.9))
    assert max(cost.growth for cost in guarded.values()) <= worst * 0.9


def test_a_guard_that_cannot_hold_is_refused_with_the_language(shrinker: Shrinker) -> None:
    with pytest.raises(UserError, match=r"with 400 tokens '\w+' still grows by .*; raise `tokens` or `max_growth`"):
        shrinker.choose(400, max_growth=0.05)


@pytest.mark.parametrize("size", [10, 100_000])
def test_an_impossible_size_is_refused_with_what_is_allowed(shrinker: Shrinker, size: int) -> None:
    with pytest.raises(UserError, match=rf"got {size}; allowed is 258 .* to \d+"):
        shrinker.choose(size, max_growth=1.0)


def test_words_of_kept_tokens_are_spelled_as_before(
    tokenizer: PreTrainedTokenizerFast, small: PreTrainedTokenizerFast, kept: list[int]
) -> None:
    same = 0
    for name in (name for language in LANGUAGES for name in names(language)):
        ids = tokenizer(name).input_ids
        if set(ids) <= set(kept):
            assert [kept[new] for new in small(name).input_ids] == ids
            same += 1
    assert same > 500


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_survives_the_small_tokenizer(
    tokenizer: PreTrainedTokenizerFast, small: PreTrainedTokenizerFast, text: str
) -> None:
    def there_and_back(backend: Tokenizer) -> str:
        return str(backend.decode(backend.encode(text, add_special_tokens=False).ids, skip_special_tokens=False))

    written = there_and_back(small.backend_tokenizer)
    assert written == there_and_back(tokenizer.backend_tokenizer)
    assert written.endswith(text)


def test_every_kept_token_can_still_be_made(content: dict, kept: list[int]) -> None:
    parts = parts_of(content)
    assert all(set(parts.get(token, ())) <= set(kept) for token in kept)
    assert not close(kept, parts, set(kept))


def test_eos_is_appended_under_its_new_number_after_truncation(small: PreTrainedTokenizerFast) -> None:
    ids = small("a long text " * 20, truncation=True, max_length=16).input_ids
    assert len(ids) == 16
    assert ids[-1] == small.eos_token_id == small.convert_tokens_to_ids("<|endoftext|>")


def test_keeping_all_tokens_changes_nothing(content: dict, tokenizer: PreTrainedTokenizerFast) -> None:
    assert shrink_tokenizer(content, list(range(len(tokenizer)))) == content


def test_texts_of_kept_tokens_keep_their_vectors(
    tokenizer: PreTrainedTokenizerFast, small: PreTrainedTokenizerFast, kept: list[int]
) -> None:
    config = Qwen3Config(
        vocab_size=3100,  # wider than the tokenizer, as Qwen3's own table is
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    parent = Qwen3Model(config).eval()
    plan = PrunePlan.everything(sizes_of(config))
    plan = PrunePlan(**{**vars(plan), "kept_tokens": tuple(kept)})
    student = prune_model(parent, plan)
    assert student.embed_tokens.weight.shape == (1500, 16)
    assert student.config.vocab_size == 1500
    assert (student.config.eos_token_id, student.config.pad_token_id) == (small.eos_token_id, small.pad_token_id)
    name = next(name for name in names("en") if set(tokenizer(name).input_ids) <= set(kept))
    with torch.inference_mode():
        pairs = ((parent, tokenizer), (student, small))
        states = [model(torch.tensor([reader(name).input_ids])).last_hidden_state for model, reader in pairs]
    torch.testing.assert_close(*states, rtol=0, atol=1e-6)


def test_the_report_prices_each_language_at_several_sizes(tokenizer: PreTrainedTokenizerFast) -> None:
    sample = {language: [(text_id(name), name) for name in names(language)] for language in ("en", "am")}
    kept, report = choose_tokens(tokenizer, VocabularyConfig(tokens=1500, max_growth=0.25), [sample])
    assert report["tokens_before"] == len(tokenizer)
    assert report["tokens_after"] == len(kept) == 1500
    english = report["languages"]["en"]
    assert english["tokens_per_character"]["after"] >= english["tokens_per_character"]["before"]
    growths = list(english["growth_at"].values())
    assert growths == sorted(growths, reverse=True)
    assert report["largest_growth"] == max(cost["growth"] for cost in report["languages"].values())


def test_another_kind_of_tokenizer_is_refused(content: dict, usage: Usage) -> None:
    other = copy.deepcopy(content)
    other["model"]["type"] = "Unigram"
    with pytest.raises(UserError, match="is a Unigram; only BPE can lose tokens"):
        Shrinker(other, usage)


def test_merges_written_as_strings_are_read_too(content: dict, kept: list[int]) -> None:
    old = copy.deepcopy(content)
    old["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    assert shrink_tokenizer(old, kept) == shrink_tokenizer(content, kept)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Documents in two files, and pairs of two splits."""

    def make(draft: Draft) -> None:
        for part, texts in enumerate((["one", "two"], ["two", "three"])):
            rows = [{"doc_id": text_id(t), "text": t, "language": "eng", "source": "s"} for t in texts]
            path = draft.at("documents", f"part-{part}.parquet")
            pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT), path)
        pair = {"positive_ids": [], "task": "retrieval", "source": "s", "instruction": "Find it"}
        rows = [
            {**pair, "pair_id": text_id(query), "query": query, "split": split, "language": language}
            for query, split, language in (("eins", "train", "deu"), ("zwei", "heldout", "deu"), ("?", "train", None))
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=PAIR), draft.at("pairs", "s", "part-0.parquet"))

    return produce(str(tmp_path_factory.mktemp("run")), ArtifactKey("corpus", "corpus", 1, {}), make)


def test_the_sample_takes_all_that_members_read_and_nothing_held_out(corpus: Artifact) -> None:
    files = corpus_files(corpus)
    sample = join_samples((sample_texts(uri, 10, 0) for uri in files), 10)
    texts = {language: sorted(text for _, text in found) for language, found in sample.items()}
    assert texts == {"eng": ["one", "three", "two"], "deu": ["eins"], "und": ["?"], "instructions": ["Find it"]}


def test_the_sample_does_not_depend_on_the_order_of_files(corpus: Artifact) -> None:
    samples = [sample_texts(uri, 2, 0) for uri in corpus_files(corpus)]
    assert join_samples(samples, 2) == join_samples(reversed(samples), 2)
    assert len(join_samples(samples, 2)["eng"]) == 2
    assert np.all([len(texts) <= 2 for texts in join_samples(samples, 2).values()])
