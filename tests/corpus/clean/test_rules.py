"""Filters: each rule finds its rows, the first that is broken names the reject, and one more is one entry."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from polyglossa.corpus.clean import ingest as first_pass
from polyglossa.corpus.clean.ingest import find_reject_reasons
from polyglossa.corpus.clean.rules import RULES, Candidates, Rows
from polyglossa.corpus.sources.candidates import candidate_table
from polyglossa.recipe.sections.corpus import CorpusConfig

ROWS = [
    ("fine", ["an answer"], None, None),
    ("", ["an answer"], None, "empty"),
    ("no answer", [], None, "empty"),
    ("a", ["an answer"], None, "too_short"),
    ("fine", ["x" * 41], ["a"], "too_short"),
    ("fine", ["x" * 41], None, "too_long"),
    ("same", ["same"], None, "equal_query_and_positive"),
    ("fine", ["one", "two"], ["three", "two"], "negative_is_positive"),
    ("seen 4 times", ["an answer"], None, None),
]


@pytest.fixture
def table() -> pa.Table:
    columns = {"query": [row[0] for row in ROWS], "positives": [row[1] for row in ROWS]}
    return candidate_table(columns | {"negatives": [row[2] for row in ROWS]}, task="retrieval", source="s")


CONFIG = CorpusConfig.model_construct(min_characters=2, max_characters=40, max_tokens=None, tokenizer=None)


def test_a_row_is_rejected_for_the_first_rule_that_it_breaks(table: pa.Table) -> None:
    assert find_reject_reasons(table, CONFIG).tolist() == [row[3] for row in ROWS]


def has_a_digit(candidates: Candidates) -> Rows:
    return np.flatnonzero(pc.match_substring_regex(candidates.queries.values, "[0-9]").to_numpy(zero_copy_only=False))


def test_an_added_rule_rejects_under_its_own_name(table: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_pass, "RULES", (*RULES, ("has_a_digit", has_a_digit)))
    assert find_reject_reasons(table, CONFIG).tolist() == [*(row[3] for row in ROWS[:-1]), "has_a_digit"]
