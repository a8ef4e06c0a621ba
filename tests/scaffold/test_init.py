"""Protects `polyglossa init`: files of many layouts become a valid recipe with a plan, and nothing is overwritten."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyglossa.errors import DataError, UserError
from polyglossa.pipeline.build import build
from polyglossa.recipe import Recipe, load_recipe
from polyglossa.recipe.load import validate
from polyglossa.scaffold.compose import SIZES, compose, tokens_of
from polyglossa.scaffold.look import look
from polyglossa.scaffold.propose import pairs_from_columns, propose
from scaffold.own_files import questions, write

ROOT = Path(__file__).parents[2]
LAYOUTS = {
    "faq.jsonl": ({"question": "how do i reset it?", "answer": "hold the button"}, "pairs", "retrieval"),
    "triples.jsonl": ({"query": "red", "positive": "a colour", "negative_1": "a dog"}, "pairs", "retrieval"),
    "published.jsonl": ({"query": "red", "passage": "a colour", "negative_1": "a dog"}, "f2llm", "retrieval"),
    "sts.csv": ({"sentence1": "a cat", "sentence2": "the cat", "score": 4.5}, "pairs", "sts"),
    "wide.tsv": ({"eng": "house", "deu": "Haus", "fra": "maison"}, "bitext", "bitext"),
    "guess.jsonl": ({"headline": "rain", "story": "it rained for a long time in the north"}, "pairs", "retrieval"),
}


def put(folder: Path, name: str, row: dict[str, object], rows: int = 30) -> Path:
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("\n".join(json.dumps(row) for _ in range(rows)))
    else:
        mark = "\t" if name.endswith(".tsv") else ","
        path.write_text("\n".join([mark.join(row), *(mark.join(map(str, row.values())) for _ in range(rows))]))
    return path


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognised_by_its_columns(tmp_path: Path, name: str) -> None:
    row, kind, task = LAYOUTS[name]
    (seen,) = look([put(tmp_path, name, dict(row))])
    found = propose(seen)
    assert (seen.rows, found.entry["kind"], found.task) == (30, kind, task)


def test_a_number_between_two_sentences_makes_it_similarity(tmp_path: Path) -> None:
    table = pa.table({"sentence1": ["a"] * 9, "sentence2": ["b"] * 9, "score": [0.5] * 9})
    pq.write_table(table, tmp_path / "sts.parquet")
    assert propose(look([tmp_path / "sts.parquet"])[0]).task == "sts"


def test_few_labels_sort_texts_and_two_are_two_way_classification(tmp_path: Path) -> None:
    table = pa.table({"text": [f"text number {i}" for i in range(60)], "label": ["a", "b", "c"] * 20})
    pq.write_table(table, tmp_path / "topics.parquet")
    pq.write_table(table.set_column(1, "label", pa.array(["yes", "no"] * 30)), tmp_path / "polarity.parquet")
    tasks = [propose(look([tmp_path / name])[0]).task for name in ("topics.parquet", "polarity.parquet")]
    assert tasks == ["clustering", "classification"]


def test_rows_of_one_index_in_many_languages_are_translations(tmp_path: Path) -> None:
    table = pa.table(
        {"index_id": [1, 1, 2, 2], "language": ["eng", "deu"] * 2, "text": ["a house", "ein Haus", "a dog", "ein Hund"]}
    )
    pq.write_table(table, tmp_path / "flores.parquet")
    assert propose(look([tmp_path / "flores.parquet"])[0]).entry["layout"] == "long"


def test_a_folder_of_equal_files_is_one_source(tmp_path: Path) -> None:
    folder = tmp_path / "manuals"
    folder.mkdir()
    for number in range(3):
        put(folder, f"part{number}.jsonl", {"question": "q", "answer": "a"})
    (one,) = look([folder])
    assert (one.name, one.rows, len(one.paths)) == ("manuals", 90, 3)


@pytest.mark.parametrize("size", SIZES)
def test_the_recipe_is_valid_at_every_size_and_mines_with_its_own_first_stage(tmp_path: Path, size: str) -> None:
    faq = propose(look([put(tmp_path, "faq.jsonl", {"question": "how?", "answer": "so"})])[0])
    recipe = validate(Recipe, compose("mine", [faq], size=size), "mine.yaml")
    assert list(build(recipe).nodes)[-1] == "serve"
    assert recipe.training["stage1"].sources == ("cldr", "faq")


def test_unknown_columns_files_and_sizes_are_named(tmp_path: Path) -> None:
    path = put(tmp_path, "faq.jsonl", {"question": "how?", "answer": "so"})
    with pytest.raises(DataError, match="has no column 'ask'; it has question, answer"):
        pairs_from_columns(look([path])[0], {"query": "ask", "positive": "answer"})
    with pytest.raises(DataError, match="is not there"):
        look([tmp_path / "nothing.jsonl"])
    with pytest.raises(DataError, match="no two columns of text"):
        propose(look([put(tmp_path, "numbers.jsonl", {"a": 1, "b": 2})])[0])
    with pytest.raises(UserError, match="not one of small, base"):
        compose("mine", [propose(look([path])[0])], size="huge")
    (tmp_path / "broken.jsonl").write_text("{not json")
    with pytest.raises(DataError, match="cannot be read"):
        look([tmp_path / "broken.jsonl"])


def test_dense_scripts_have_more_tokens_a_character() -> None:
    assert tokens_of(100, "漢字" * 50) > tokens_of(100, "letters and words")


def test_the_command_asks_nothing_off_a_terminal_writes_once_and_prints_the_plan(tmp_path: Path) -> None:
    file = write(tmp_path, "faq.jsonl", questions(300))
    target = str(tmp_path / "support.yaml")
    arguments = [str(file), "--name", "support", "--out", target, "--model", "scratch", "--yes"]
    first, second = (run("init", *arguments) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert "train.base.stage2" in first.stdout
    assert load_recipe(tmp_path / "support.yaml").name == "support"
    assert second.returncode == 2
    assert "is there already" in second.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polyglossa.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
