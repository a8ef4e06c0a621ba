"""Protects the account of rows: each candidate becomes one pair or one reject with a reason, whatever it holds."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyglossa.corpus.pairs import splits_of
from polyglossa.corpus.sources.candidates import candidate_table
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.records import text_id

Curate = Callable[..., Any]


def config(**chosen: Any) -> CorpusConfig:
    source = {"kind": "pairs", "name": "s", "files": ["f"], "task": "retrieval", "language": "eng"}
    data = {"sources": [source], "max_characters": 40, "languages": {"checked_share": 0.0}, **chosen}
    return validate(CorpusConfig, data, "test")


def rows(*examples: dict[str, Any], source: str = "s", task: str = "retrieval") -> pa.Table:
    columns: dict[str, list[Any]] = {
        key: [example.get(key) for example in examples] for key in ("query", "positives", "negatives", "split", "group")
    }
    return candidate_table(columns, task=task, source=source)


def test_each_bad_row_costs_that_row_with_a_reason(curate: Curate) -> None:
    table = rows(
        {"query": "good", "positives": ["fine"]},
        {"query": "", "positives": ["fine"]},
        {"query": " \t\u200b\ufeff", "positives": ["fine"]},
        {"query": None, "positives": ["fine"]},
        {"query": "none", "positives": []},
        {"query": "null", "positives": None},
        {"query": "hole", "positives": ["fine", None]},
        {"query": "long", "positives": ["x" * 41]},
        {"query": "long too", "positives": ["x"], "negatives": ["x" * 41]},
        {"query": "same", "positives": ["same "]},
        {"query": "both", "positives": ["same"], "negatives": ["other", "same"]},
        {"query": "good", "positives": ["fine"], "group": "again"},
    )
    found = Counter(curate([table], config()).reasons)
    assert found == {
        "empty": 5,  # a zero-width space is a character
        "too_long": 2,
        "equal_query_and_positive": 1,
        "negative_is_positive": 1,
        "duplicate": 1,
    }


def test_short_texts_and_long_token_counts_are_rejected_when_asked(curate: Curate, tmp_path: Any) -> None:
    import tokenizers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    table = rows({"query": "ab", "positives": ["abc"]}, {"query": "a a a a a", "positives": ["abc"]})
    assert curate([table], config(min_characters=3)).reasons == ["too_short"]
    assert curate([table], config(tokenizer=str(tmp_path), max_tokens=4)).reasons == ["too_many_tokens"]


def test_the_first_source_in_recipe_order_keeps_a_shared_row(curate: Curate) -> None:
    one = rows({"query": "q", "positives": ["p"]}, source="one")
    two = rows({"query": "q", "positives": ["p"]}, source="two", task="sts")
    assert [pair["source"] for pair in curate([one, two], config()).pairs] == ["one"]
    assert [pair["source"] for pair in curate([two, one], config()).pairs] == ["two"]


def test_training_rows_that_hold_a_heldout_text_are_rejected(curate: Curate) -> None:
    secret = rows({"query": "Secret Name", "positives": ["Hidden"], "split": "heldout"}, source="last")
    leaks = rows(
        {"query": "SECRET  name", "positives": ["p"]},
        {"query": "q", "positives": ["hidden"]},
        {"query": "q", "positives": ["p"], "negatives": ["Hidden"]},
        {"query": "q", "positives": ["p", "r"]},
    )
    curated = curate([leaks, secret], config())
    assert curated.reasons == ["heldout_leak"] * 3
    assert sorted(pair["split"] for pair in curated.pairs) == ["heldout", "train"]


def test_a_heldout_row_is_kept_before_the_same_training_row(curate: Curate) -> None:
    train, heldout = ({"query": "q", "positives": ["p"], "split": split} for split in (None, "heldout"))
    (pair,) = curate([rows(train, source="one"), rows(heldout, source="two")], config()).pairs
    assert pair["split"] == "heldout"


def test_labels_of_heldout_classification_rows_stay_in_training(curate: Curate) -> None:
    heldout = rows({"query": "Ruritania", "positives": ["territory"], "split": "heldout"}, task="classification")
    train = rows({"query": "Utopia", "positives": ["territory"]}, task="classification")
    assert curate([heldout, train], config()).reasons == []


def test_documents_of_heldout_rows_are_kept_apart(curate: Curate) -> None:
    table = rows(
        {"query": "a", "positives": ["seen"], "negatives": ["also seen"]},
        {"query": "b", "positives": ["secret"], "split": "heldout"},
    )
    curated = curate([table], config())
    assert set(curated.documents["text"].to_pylist()) == {"seen", "also seen"}
    assert curated.heldout_documents["text"].to_pylist() == ["secret"]
    assert curated.documents["doc_id"].to_pylist() == sorted([text_id("seen"), text_id("also seen")])


def test_three_in_ten_documents_of_a_symmetric_task_are_instructed_and_always_the_same_ones(curate: Curate) -> None:
    table = rows(*({"query": f"q{i}", "positives": [f"p{i % 1000}"]} for i in range(2000)), task="bitext")
    by_document: dict[bytes, set[str | None]] = {}
    for pair in curate([table], config()).pairs:
        by_document.setdefault(pair["positive_ids"][0], set()).add(pair["document_instruction"])
    assert all(len(instructions) == 1 for instructions in by_document.values())
    share = sum(instructions != {None} for instructions in by_document.values()) / len(by_document)
    assert 0.25 < share < 0.35
    (asymmetric,) = curate([rows({"query": "q", "positives": ["p"]})], config()).pairs
    assert asymmetric["instruction"] is not None
    assert asymmetric["document_instruction"] is None


def test_rows_of_one_query_are_on_one_side_of_the_validation_split(curate: Curate) -> None:
    chosen = config(validation_share=0.3)
    table = rows(*({"query": f"q{i % 50}", "positives": [f"p{i}"]} for i in range(200)))
    sides = {(pair["query"], pair["split"]) for pair in curate([table], chosen).pairs}
    assert len(sides) == 50
    assert {split for _, split in sides} == {"train", "validation"}
    assert splits_of(pa.array(["q1"]), chosen).equals(splits_of(pa.array(["q1"]), chosen))


TEXTS = st.sampled_from(["", "a", "A", " a ", "b", "c" * 50, "é", "e\u0301", "\x00"]) | st.none()
EXAMPLES = st.fixed_dictionaries(
    {
        "query": TEXTS,
        "positives": st.lists(TEXTS, max_size=3) | st.none(),
        "negatives": st.lists(st.sampled_from(["a", "n", "N"]), max_size=2) | st.none(),
        "split": st.sampled_from([None, None, "heldout"]),
    }
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.lists(EXAMPLES, max_size=12), st.lists(EXAMPLES, max_size=12))
def test_rows_in_are_rows_out_plus_rejects_and_ids_resolve(curate: Curate, one: list[Any], two: list[Any]) -> None:
    tables = [rows(*one, source="one"), rows(*two, source="two", task="classification")]
    curated = curate(tables, config())
    assert len(one) + len(two) == len(curated.pairs) + len(curated.reasons)
    assert len({pair["pair_id"] for pair in curated.pairs}) == len(curated.pairs)
    held = set(curated.heldout_documents["doc_id"].to_pylist())
    seen = set(curated.documents["doc_id"].to_pylist())
    for pair in curated.pairs:
        known = held if pair["split"] == "heldout" else seen
        assert {*pair["positive_ids"], *(pair["negative_ids"] or ())} <= known


@quick
@given(st.lists(EXAMPLES, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_change_what_is_kept(curate: Curate, examples: list[Any], random: Any) -> None:
    shuffled = random.sample(examples, len(examples))
    one, other = curate([rows(*examples)], config()), curate([rows(*shuffled)], config())
    assert one.pairs == other.pairs
    assert one.documents.equals(other.documents)
    assert Counter(one.reasons) == Counter(other.reasons)
