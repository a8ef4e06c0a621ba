"""Protects the account of rows: each candidate becomes one pair or one reject with a reason, whatever it holds."""

from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.corpus.admit import admit, split_of
from polyglossa.corpus.candidates import candidate_table
from polyglossa.recipe.corpus import CorpusConfig
from polyglossa.records import text_id


def config(**settings: Any) -> CorpusConfig:
    return CorpusConfig.model_validate({"sources": [{"kind": "pydoc"}], "max_characters": 40, **settings})


def rows(*examples: dict[str, Any], source: str = "s", task: str = "retrieval") -> pa.Table:
    columns: dict[str, list[Any]] = {
        key: [example.get(key) for example in examples] for key in ("query", "positives", "negatives", "split", "group")
    }
    return candidate_table(columns, task=task, source=source)


def reasons(*tables: pa.Table) -> dict[str, int]:
    return dict(Counter(admit(tables, config()).rejects["reason"].to_pylist()))


def test_each_bad_row_costs_that_row_with_a_reason() -> None:
    table = rows(
        {"query": "good", "positives": ["fine"]},
        {"query": "", "positives": ["fine"]},
        {"query": None, "positives": ["fine"]},
        {"query": "none", "positives": []},
        {"query": "hole", "positives": ["fine", None]},
        {"query": "long", "positives": ["x" * 41]},
        {"query": "long too", "positives": ["x"], "negatives": ["x" * 41]},
        {"query": "same", "positives": ["same"]},
        {"query": "good", "positives": ["fine"], "group": "again"},
    )
    assert reasons(table) == {"empty": 4, "too_long": 2, "equal_query_and_positive": 1, "duplicate": 1}


def test_the_first_source_in_recipe_order_keeps_a_shared_row() -> None:
    one, two = (
        rows({"query": "q", "positives": ["p"]}, source="one"),
        rows({"query": "q", "positives": ["p"]}, source="two"),
    )
    assert admit([one, two], config()).pairs["one"].num_rows == 1
    assert admit([two, one], config()).pairs["one"].num_rows == 0


def test_training_rows_that_hold_a_heldout_text_are_rejected() -> None:
    secret = rows({"query": "Secret Name", "positives": ["Hidden"], "split": "heldout"})
    leaks = rows(
        {"query": "SECRET  name", "positives": ["p"]},
        {"query": "q", "positives": ["hidden"]},
        {"query": "q", "positives": ["p"], "negatives": ["Hidden"]},
        {"query": "q", "positives": ["p"]},
        source="train",
    )
    assert reasons(secret, leaks) == {"heldout_leak": 3}


def test_labels_of_heldout_classification_rows_stay_in_training() -> None:
    heldout = rows({"query": "Ruritania", "positives": ["territory"], "split": "heldout"}, task="classification")
    train = rows({"query": "Utopia", "positives": ["territory"]}, task="classification")
    assert reasons(heldout, train) == {}


def test_documents_of_heldout_rows_are_kept_apart() -> None:
    table = rows(
        {"query": "a", "positives": ["seen"], "negatives": ["also seen"]},
        {"query": "b", "positives": ["secret"], "split": "heldout"},
    )
    admission = admit([table], config())
    assert set(admission.documents["text"].to_pylist()) == {"seen", "also seen"}
    assert admission.heldout_documents["text"].to_pylist() == ["secret"]
    assert admission.documents["doc_id"].to_pylist() == sorted([text_id("seen"), text_id("also seen")])


def test_three_in_ten_documents_of_a_symmetric_task_are_instructed_and_always_the_same_ones() -> None:
    table = rows(*({"query": f"q{i}", "positives": [f"p{i % 1000}"]} for i in range(2000)), task="bitext")
    pairs = admit([table], config()).pairs["s"].to_pylist()
    by_document: dict[bytes, set[str | None]] = {}
    for pair in pairs:
        by_document.setdefault(pair["positive_ids"][0], set()).add(pair["document_instruction"])
    assert all(len(instructions) == 1 for instructions in by_document.values())
    share = sum(instructions != {None} for instructions in by_document.values()) / len(by_document)
    assert 0.25 < share < 0.35
    asymmetric = admit([rows({"query": "q", "positives": ["p"]})], config()).pairs["s"].to_pylist()
    assert asymmetric[0]["instruction"] is not None
    assert asymmetric[0]["document_instruction"] is None


def test_rows_of_one_query_are_on_one_side_of_the_validation_split() -> None:
    settings = config(validation_share=0.3)
    table = rows(*({"query": f"q{i % 50}", "positives": [f"p{i}"]} for i in range(200)))
    pairs = admit([table], settings).pairs["s"].to_pylist()
    sides = {(pair["query"], pair["split"]) for pair in pairs}
    assert len(sides) == 50
    assert {split for _, split in sides} == {"train", "validation"}
    assert split_of("q1", settings) == split_of("q1", settings)


TEXTS = st.sampled_from(["", "a", "A", " a ", "b", "c" * 50, "é", "e\u0301"]) | st.none()
EXAMPLES = st.fixed_dictionaries(
    {
        "query": TEXTS,
        "positives": st.lists(TEXTS, max_size=3) | st.none(),
        "negatives": st.lists(st.sampled_from(["a", "n", "N"]), max_size=2) | st.none(),
        "split": st.sampled_from([None, None, "heldout"]),
    }
)


@given(st.lists(EXAMPLES, max_size=12), st.lists(EXAMPLES, max_size=12))
def test_rows_in_are_rows_out_plus_rejects_and_ids_resolve(one: list[Any], two: list[Any]) -> None:
    tables = [rows(*one, source="one"), rows(*two, source="two", task="classification")]
    admission = admit(tables, config())
    out = [pair for table in admission.pairs.values() for pair in table.to_pylist()]
    assert len(one) + len(two) == len(out) + admission.rejects.num_rows
    assert len({pair["pair_id"] for pair in out}) == len(out)
    held = set(admission.heldout_documents["doc_id"].to_pylist())
    seen = set(admission.documents["doc_id"].to_pylist())
    for pair in out:
        known = held if pair["split"] == "heldout" else seen
        assert {*pair["positive_ids"], *(pair["negative_ids"] or ())} <= known


@given(st.lists(EXAMPLES, max_size=12), st.randoms())
def test_the_order_of_rows_within_a_source_does_not_change_what_is_kept(examples: list[Any], random: Any) -> None:
    shuffled = random.sample(examples, len(examples))
    kept = [
        {
            pair_id
            for pairs in admit([rows(*order)], config()).pairs.values()
            for pair_id in pairs["pair_id"].to_pylist()
        }
        for order in (examples, shuffled)
    ]
    assert kept[0] == kept[1]
