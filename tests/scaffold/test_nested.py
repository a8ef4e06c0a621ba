"""Protects files of JSON whose rows lie deeper than a reader looks: the jq program that is shown makes the rows."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from polyglossa.scaffold.nested import flatten_program, rows_inside

FAQ = [{"question": f"what is {place}?", "answer": f"it is {place}"} for place in range(40)]
NESTED = [
    {"id": place, "question": {"lang": "en", "text": row["question"]}, "answers": [{"body": row["answer"], "votes": 3}]}
    for place, row in enumerate(FAQ)
]
FLAT = [{"id": place, "question": row["question"], "answers": row["answer"]} for place, row in enumerate(FAQ)]
CHAPTERS = [{"name": f"part {part}", "rows": FAQ[part * 20 : part * 20 + 20]} for part in range(2)]
SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": f"title {article}",
            "paragraphs": [
                {
                    "context": f"context {article} {place}",
                    "qas": [{"id": f"{one}", "question": f"which {one}?"} for one in range(3)],
                }
                for place in range(4)
            ],
        }
        for article in range(2)
    ],
}

INSIDE: dict[str, tuple[Any, str, list[dict[str, Any]]]] = {
    "a list under a key": ({"meta": {"count": 40}, "items": FAQ}, ".items[]", FAQ),
    "under two keys": ({"status": "ok", "data": {"items": FAQ}}, ".data.items[]", FAQ),
    "under a key that needs quotes": ({"my rows": FAQ}, '."my rows"[]', FAQ),
    "an object by id": ({str(place): row for place, row in enumerate(FAQ)}, ".[]", FAQ),
    "questions as keys": (
        {row["question"]: row["answer"] for row in FAQ},
        "to_entries[] | {query: .key, positive: .value}",
        [{"query": row["question"], "positive": row["answer"]} for row in FAQ],
    ),
    "texts in objects": (
        {"data": {"items": NESTED}},
        ".data.items[] | {id: .id, question: .question.text, answers: .answers[].body}",
        FLAT,
    ),
    "lists in a list, with what stands above them": (
        {"parts": CHAPTERS},
        ".parts[] | {name: .name} + (.rows[])",
        [{"name": part["name"], **row} for part in CHAPTERS for row in part["rows"]],
    ),
    "rows that have lists of their own": (
        {"items": [{**row, "tags": [{"name": "x"}] * 5} for row in FAQ]},
        ".items[]",
        [{**row, "tags": [{"name": "x"}] * 5} for row in FAQ],
    ),
    "SQuAD": (
        SQUAD,
        ".data[] | {title: .title} + (.paragraphs[] | {context: .context} + (.qas[]))",
        [
            {"title": article["title"], "context": paragraph["context"], **asked}
            for article in SQUAD["data"]
            for paragraph in article["paragraphs"]
            for asked in paragraph["qas"]
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INSIDE)
def test_the_program_yields_the_rows_that_a_value_wraps(tmp_path: Path, name: str) -> None:
    value, program, rows = INSIDE[name]
    found = rows_inside(value)
    assert found is not None
    assert found.program == program
    assert found.rows == len(rows)
    assert made_by_jq(program, value, tmp_path) == rows


@pytest.mark.parametrize("value", [{"a": "b"}, {"a": {"b": 3}}, {"a": [1, 2, 3]}, {"a": []}, [], "text", None])
def test_a_value_that_wraps_no_rows_is_left_alone(value: object) -> None:
    assert rows_inside(value) is None


def test_texts_inside_rows_become_columns(tmp_path: Path) -> None:
    program = flatten_program(NESTED)
    assert program is not None
    assert made_by_jq(f".[] | {program}", NESTED, tmp_path) == FLAT
    assert flatten_program(FAQ) is None


def made_by_jq(program: str, value: object, folder: Path) -> list[dict[str, Any]]:
    """What jq itself makes of it."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed here")
    (folder / "file.json").write_text(json.dumps(value))
    told = subprocess.run(["jq", "-c", program, folder / "file.json"], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in told.stdout.splitlines()]
