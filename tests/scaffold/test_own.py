"""Protects one's own data in `init`: what is held out is held out whole, judges enough, and nothing of it trains."""

import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from polyglossa.errors import DataError, UserError
from polyglossa.evaluate.tasks.file_lists import survey_local
from polyglossa.recipe.sections.evaluate import RetrievalTask
from polyglossa.scaffold.begin import read_files
from polyglossa.scaffold.own.folder import documents_of, search_task, training_rows
from polyglossa.scaffold.own.groups import group_rows, near_copies
from polyglossa.scaffold.own.split import split_rows, wanted_queries
from polyglossa.scaffold.propose import propose
from scaffold.own_files import questions, rows_of, split_of, started, tiny_model, write


def test_near_copies_are_found_and_short_texts_are_left_apart() -> None:
    long = "hold the button on the back for ten seconds until the lamp goes out"
    assert near_copies([long, f"{long}.", "something else that is as long as the others are", "ls -l", "ls -a"]) == [
        (0, 1)
    ]


def test_rows_of_one_question_one_answer_or_near_copies_of_them_are_one_group(tmp_path: Path) -> None:
    rows = questions(4)
    rows += [
        {"question": rows[0]["question"], "answer": "another answer to the very same question, at some length"},
        {"question": "asked otherwise and answered by the same passage", "answer": rows[1]["answer"]},
        {"question": "and one whose passage is all but the same one", "answer": f"{rows[2]['answer']}!"},
    ]
    groups = group_rows(rows_of(write(tmp_path, "faq.jsonl", rows)).table, by_label=False).tolist()
    assert groups[:3] == groups[4:7]
    assert len(set(groups)) == 4


@pytest.mark.parametrize(("queries", "held"), [(100, 20), (500, 100), (2000, 200), (5000, 500), (50_000, 1000)])
def test_a_tenth_is_held_out_with_at_least_200_of_2000_and_at_most_1000(queries: int, held: int) -> None:
    assert wanted_queries(queries) == held


def test_every_source_and_language_gives_its_share() -> None:
    count = 2000
    strata = ["eng" if row % 4 else "deu" for row in range(count)]
    sides = split_rows(list(range(count)), [f"q{row}" for row in range(count)], strata, [None] * count)
    held = [stratum for stratum, side in zip(strata, sides.side, strict=True) if side == "heldout"]
    assert (held.count("deu"), held.count("eng")) == (50, 150)


def test_a_group_that_holds_much_of_the_data_trains_as_a_whole() -> None:
    groups = [0] * 300 + list(range(1, 701))
    sides = split_rows(groups, [f"q{row}" for row in range(1000)], ["eng"] * 1000, [None] * 1000)
    assert set(sides.side[:300]) == {"train"}
    assert sides.count("heldout") == 200


def test_a_split_of_the_file_is_kept_and_what_is_tied_to_it_does_not_train() -> None:
    sides = split_rows([0, 0, 1, 2], list("abcd"), ["eng"] * 4, ["train", "heldout", "train", "validation"])
    assert sides.side == ("dropped", "heldout", "train", "validation")


def test_nothing_that_is_held_out_trains_and_the_search_is_among_all_documents(tmp_path: Path) -> None:
    rows = questions(600)
    rows += [{"question": f"{row['question']} again?", "answer": row["answer"]} for row in rows[:200]]
    source = split_of(write(tmp_path, "faq.jsonl", rows))
    trained = training_rows(source)
    seen = {row["query"] for row in trained} | set(itertools.chain.from_iterable(row["passage"] for row in trained))
    tables = search_task(source, documents_of(source))
    assert not seen & set(tables["texts"]["text"].to_pylist())
    assert set(tables["corpus"]["text"].to_pylist()) == {row["answer"] for row in rows}
    assert tables["queries"].num_rows >= 0.19 * 800
    assert set(tables["qrels"]["query-id"].to_pylist()) == set(tables["queries"]["id"].to_pylist())


def test_labelled_text_becomes_pairs_of_one_label_and_is_judged_by_its_labels(tmp_path: Path) -> None:
    rows = [{"text": row["question"], "label": f"topic {place % 4}"} for place, row in enumerate(questions(400))]
    label = {row["text"]: row["label"] for row in rows}
    source = split_of(write(tmp_path, "topics.jsonl", rows))
    pairs = training_rows(source)
    assert all(label[row["query"]] == label[row["passage"][0]] == row["group"] for row in pairs)
    held = {row["query"] for row in source.kept("heldout")}
    assert not held & {text for row in pairs for text in (row["query"], row["passage"][0])}


def test_clicks_are_graded_and_rare_ones_are_not_taught(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for row in questions(300):
        rows.append({"query": row["question"], "title": row["answer"], "clicks": 50})
        rows.append({"query": row["question"], "title": f"{row['answer'][::-1]}", "clicks": 2})
    source = split_of(write(tmp_path, "clicks.jsonl", rows))
    assert source.rows.kind == "clicks"
    assert {row["score"] for row in training_rows(source)} == {50.0}
    assert set(search_task(source, documents_of(source))["qrels"]["score"].to_pylist()) == {1, 3}


def test_scored_pairs_teach_the_similar_ones_and_judge_by_all(tmp_path: Path) -> None:
    rows = [
        {"sentence1": row["question"], "sentence2": row["answer"], "score": place % 6}
        for place, row in enumerate(questions(300))
    ]
    source = split_of(write(tmp_path, "sts.jsonl", rows))
    assert source.rows.kind == "scores"
    assert {row["score"] for row in training_rows(source)} == {4.0, 5.0}


def test_the_recipe_is_judged_by_the_held_out_part_beside_the_model_as_it_came(tmp_path: Path) -> None:
    said: list[str] = []
    path = write(tmp_path, "faq.jsonl", [*questions(400), *questions(3)])
    recipe = started(tmp_path, [path], tiny_model(tmp_path / "tiny"), said)
    assert recipe.own is not None
    assert (recipe.own.tasks, recipe.members[0].name, recipe.mine and recipe.mine.model) == (
        ("own-faq",), "tuned", "tuned@backbone",
    )  # fmt: skip
    task = recipe.evaluate.local[0]
    assert isinstance(task, RetrievalTask)
    assert sum(survey_local(task).rows.values()) == 80
    assert [one.name for one in recipe.corpus.decontamination.sets] == ["own-faq"]
    assert "cldr" not in (recipe.training["own"].sources or ())
    account = json.loads((tmp_path / "mine.own/split.json").read_text())["sources"]["faq"]
    assert (account["rows_read"], account["left_out"]) == (403, {"duplicate": 3})
    assert any("80 of 400 queries held out" in line for line in said)
    with pytest.raises(UserError, match="is there already"):
        started(tmp_path, [path], "scratch", said)


def test_from_scratch_is_judged_by_the_same_held_out_part(tmp_path: Path) -> None:
    recipe = started(tmp_path, [write(tmp_path, "faq.jsonl", questions(400))], "scratch", [])
    assert [task.name for task in recipe.evaluate.local] == ["own-faq"]
    assert recipe.expect is not None
    assert recipe.expect.stages["stage1"].rows_by_source["faq"] == 304  # 400 without 80 held out and 16 for validation


def test_documents_without_queries_are_searched_with_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "manuals"
    folder.mkdir()
    (folder / "lamp.md").write_text("# The lamp\n\nIt shines.\n\n## Care\n\nWipe it with a cloth.\n")
    path = write(tmp_path, "faq.jsonl", questions(400))
    started(tmp_path, [path, folder], tiny_model(tmp_path / "tiny"), [])
    texts = pq.read_table(tmp_path / "mine.own/documents/faq.parquet")["text"].to_pylist()
    assert {"The lamp It shines.", "Care Wipe it with a cloth."} <= set(texts)


BAD = {
    "ten rows": (questions(10), "10 different queries in 10 rows; at least 100 are needed"),
    "all rows the same": (questions(1) * 300, "all 300 rows ask the same"),
    "one answer to all": ([{**row, "answer": "yes"} for row in questions(300)], "all rows have the same answer: 'yes'"),
    "two answers to all": (
        [{**row, "answer": "yes" if place % 2 else "no, not at all"} for place, row in enumerate(questions(300))],
        "Answers that many questions share are labels",
    ),
    "one column": ([{"text": row["answer"]} for row in questions(300)], "no two columns of text"),
    "answers where questions belong": (
        [{"question": row["answer"] * 4, "answer": row["question"]} for row in questions(300)],
        "are they swapped",
    ),
    "objects in cells": (
        [{"question": {"text": "a"}, "answer": [{"text": "b"}]}] * 9,
        r"holds objects \(text\).*\(jq -c '\{question: \.question\.text, answer: \.answer\[\]\.text\}' bad\.jsonl",
    ),
    "one object around all": ([{"data": questions(300)}], r"around 300 rows \(question, answer\).*jq -c '\.data\[\]'"),
    "hundreds of columns": ([{f"column{place}": 1 for place in range(500)}] * 9, r"column11 and 488 more\. Name"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_judged_is_refused_in_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    rows, said = BAD[name]
    path = write(tmp_path, "bad.jsonl", rows)
    with pytest.raises(DataError, match=said) as error:
        started(tmp_path, [path], "scratch", [])
    assert "\n" not in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.jsonl"]


def test_a_file_that_does_not_fit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "big.jsonl", questions(400))
    with path.open("r+b") as stream:
        stream.truncate(2 * 2**30)  # sparse: takes no room
    with pytest.raises(DataError, match=r"2\.0 GiB; `init` splits up to 1 GiB"):
        rows_of(path)


def test_documents_alone_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "manual.md").write_text("# The lamp\n\nIt shines.")
    with pytest.raises(DataError, match=r"1 documents \(\.md\) and no queries"):
        read_files([tmp_path], propose)


def promoted(root: Path, model: str) -> None:
    """Say that an earlier run promoted a model."""
    (root / "mine").mkdir(parents=True)
    entry = {"member": "tuned", "model": model, "evaluation": str(root / "mine/none")}
    (root / "mine/promoted.json").write_text(json.dumps({"mine": entry}))


def test_going_on_keeps_what_is_held_out_and_starts_from_the_promoted_model(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    rows = questions(700)
    recipe = started(tmp_path, [write(tmp_path, "faq.jsonl", rows[:400])], model, [])
    (tmp_path / "mine.yaml").write_text(
        (tmp_path / "mine.yaml").read_text().replace("storage: runs", f"storage: {tmp_path / 'runs'}")
    )
    later = tmp_path / "later"
    later.mkdir()
    more = write(later, "faq.jsonl", rows[350:])
    with pytest.raises(UserError, match="no model of mine was promoted yet"):
        started(later, [more], "", [], extend=tmp_path / "mine.yaml")
    promoted(tmp_path / "runs", model)
    again = started(later, [more], "", [], extend=tmp_path / "mine.yaml")
    held = [
        set(pq.read_table(folder / "mine.own/heldout/faq/queries.parquet")["text"].to_pylist())
        for folder in (tmp_path, later)
    ]
    assert held[0] < held[1]
    assert len(held[1]) == 140
    assert (again.name, again.members[0].backbone and again.members[0].backbone.model) == (recipe.name, model)
    assert again.own is not None
    assert again.own.start == "mine, promoted"


def test_a_model_that_cannot_be_had_is_refused_with_the_way_around(tmp_path: Path) -> None:
    path = write(tmp_path, "faq.jsonl", questions(400))
    with pytest.raises(UserError, match=r"cannot be fetched .* give `--model FOLDER`"):
        started(tmp_path, [path], "nobody/nothing", [])
    with pytest.raises(UserError, match="no such directory"):
        started(tmp_path, [path], "./nothing", [])


def test_a_language_that_the_model_does_not_know_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    started(tmp_path, [write(tmp_path, "faq.jsonl", questions(400))], tiny_model(tmp_path / "tiny"), said)
    assert any("has hardly seen" in line and "tokens are unknown to it" in line for line in said)
