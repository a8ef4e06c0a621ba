"""The three entry points' views of one file: what `init`, the corpus and evaluation make of its rows."""

from collections import Counter
from pathlib import Path
from typing import Any

from polyglossa.corpus.sources.shards import plan_shards, read_shard
from polyglossa.evaluate.tasks.tables import read_table
from polyglossa.readers.tables import Whole
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.scaffold.look import Look, look

Row = tuple[str | None, str | None, str | None]


def by_init(path: Path) -> Look:
    (one,) = look([path])
    return one


def corpus_rows(source: dict[str, Any]) -> tuple[list[dict[str, Any]], Counter[str], list[str]]:
    """Candidates, reasons of bad rows and notices of one source."""
    config = validate(CorpusConfig, {"sources": [{"name": "s", **source}]}, "test")
    readings = [reading for shard in plan_shards(config) for reading in read_shard(shard, config)]
    rows = [row for reading in readings for row in reading.candidates.to_pylist()]
    bad = Counter(one.reason for reading in readings for one in reading.bad)
    return rows, bad, [notice for reading in readings for notice in reading.notices]


def by_corpus(path: Path, **settings: Any) -> tuple[list[Row], Counter[str], list[str]]:
    """Query, positive and label of each row, reasons of bad rows, and notices."""
    columns = {"query": "query", "positive": "passage", "label": "label"}
    source = {"kind": "pairs", "task": "retrieval", "files": [str(path)], "columns": columns, **settings}
    rows, bad, notices = corpus_rows(source)
    return [(row["query"], (row["positives"] or [None])[0], row["label"]) for row in rows], bad, notices


def by_evaluation(path: Path) -> Whole:
    return read_table(str(path), {"query": "text", "passage": "text"}, {"label": "key"})


def evaluated(path: Path) -> list[Row]:
    table = by_evaluation(path).table
    return [(row["query"], row["passage"], row.get("label")) for row in table.to_pylist()]
