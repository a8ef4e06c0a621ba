"""Protects queries that bring their instruction: it is rendered as it stood, once, and a line counts them."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from polyglossa.corpus.clean.ingest import ingest, normalise
from polyglossa.corpus.clean.written_instructions import describe, lift_instructions
from polyglossa.corpus.pairs import pairs_from
from polyglossa.corpus.sources.candidates import candidate_table
from polyglossa.corpus.sources.shards import Reading
from polyglossa.model.instructions import render
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.corpus import CorpusConfig

CONFIG = validate(CorpusConfig, {"sources": [{"kind": "f2llm", "name": "a", "files": ["a.parquet"]}]}, "corpus")
WRITTEN = "Instruct: Find the answer.\nQuery: who built it"
OTHER = "Instruct: find it\twho built it"


def table(queries: list[str], positives: list[list[str]], negatives: list[Any] | None = None) -> pa.Table:
    columns = {"query": queries, "positives": positives, "negatives": negatives or [None] * len(queries)}
    return candidate_table(columns, task="bitext", source="a")


def test_a_written_instruction_becomes_the_rows_own_and_renders_to_what_stood_there() -> None:
    lifted, counts = lift_instructions(table([WRITTEN, "bare"], [["x"], ["y"]]))
    rows = normalise(lifted, keeps_code=False).to_pylist()
    assert [row["query"] for row in rows] == ["who built it", "bare"]
    assert [row["instruction"] for row in rows] == ["Find the answer.", None]
    assert render(rows[0]["query"], rows[0]["instruction"]) == WRITTEN
    assert dict(counts) == {"lifted": 1, "kept": 0, "documents": 0}


def test_instructions_of_several_lines_and_odd_blanks_are_taken_off_too() -> None:
    queries = ["Instruct:Find\n it.\r\n  Query:  a\nb", " Instruct: x\nQuery:"]
    lifted, counts = lift_instructions(table(queries, [["x"], ["y"]]))
    assert lifted["query"].to_pylist() == ["a\nb", ""]
    assert lifted["instruction"].to_pylist() == ["Find\n it.", "x"]
    assert counts["lifted"] == 2


def test_a_beginning_in_another_form_stays_and_gets_no_second_instruction(curate: Callable[..., Any]) -> None:
    done = curate([table([WRITTEN, OTHER, "bare"], [["x"], ["y"], ["z"]])], CONFIG)
    found = {row["query"]: row["instruction"] for row in done.pairs}
    assert found["who built it"] == "Find the answer."
    assert found[OTHER] is None
    assert found["bare"] == CONFIG.instructions.tasks["bitext"]


def test_documents_keep_theirs_with_the_line_end_and_their_source_gets_none_from_us() -> None:
    written = "Instruct: Find translations.\nQuery: das Haus"
    made = table([f"q{row}" for row in range(40)], [[f"{written} {row}"] for row in range(40)], [["plain"]] * 40)
    done = ingest(Reading(made, ()), "a", CONFIG.sources[0], CONFIG)
    assert done.written["documents"] == 40
    assert f"{written} 0" in done.rows["positives"].to_pylist()[0]
    ours = pairs_from(done.rows, CONFIG)["document_instruction"]
    assert 0 < len(ours) - ours.null_count < 40
    kept = pairs_from(done.rows, CONFIG, ["a"])["document_instruction"]
    assert kept.null_count == 40


def test_tables_without_any_are_handed_on_as_they_are() -> None:
    made = table(["bare", "about Instruct: and Query:"], [["x"], ["y"]])
    lifted, counts = lift_instructions(made)
    assert lifted is made
    assert not counts


def test_what_was_found_is_one_line() -> None:
    line = describe("faq", {"queries": 200, "lifted": 190, "kept": 2, "documents": 60})
    assert line == (
        "source faq: of 200 queries 95.0% bring their instruction, which is kept as theirs, 1.0% begin with "
        "`Instruct:` in another form and stay so, documents of 30.0% of rows hold one; no second one is put before "
        "them."
    )
