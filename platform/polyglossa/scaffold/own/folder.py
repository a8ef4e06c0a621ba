"""Write one's own rows as the folder that a recipe reads: what trains, what judges, all documents, what is doubtful.

NAME.own/train/SOURCE.parquet               query, passage, negatives, group, language, split
NAME.own/heldout/SOURCE/                    a search (queries, corpus, qrels), labelled text, or scored pairs
NAME.own/heldout/SOURCE/texts.parquet       what must not be in training
NAME.own/documents/SOURCE.parquet           what `polyglossa search` finds
NAME.own/doubts/SOURCE.parquet              repeated rows, and one question with several answers
NAME.own/split.json                         the account
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from polyglossa.records import text_id
from polyglossa.scaffold.own.rows import OwnRows
from polyglossa.scaffold.own.split import Sides

TRAIN_ROW = pa.schema(
    [
        pa.field("query", pa.string()),
        pa.field("passage", pa.list_(pa.string())),
        pa.field("negatives", pa.list_(pa.string())),
        pa.field("group", pa.string()),
        pa.field("language", pa.string()),
        pa.field("positive_language", pa.string()),
        pa.field("split", pa.string()),
    ]
)
DOUBT = pa.schema(
    [
        pa.field("kind", pa.string()),  # repeated | several_answers
        pa.field("query", pa.string()),
        pa.field("answers", pa.list_(pa.string())),
        pa.field("times", pa.int64()),
    ]
)
LEAST_SUBSET = 20
"""Held-out queries of a language that is scored alone."""
_SIMILAR, _UNLIKE = 0.7, 0.3
"""Of the range of scores: pairs above are positives, partners below are negatives, what is between only judges."""
_NOISE = 0.1
"""Of a query's largest weight; documents clicked less often are not taught."""


@dataclass(frozen=True)
class SplitSource:
    """One source and the side of each of its rows."""

    rows: OwnRows
    sides: Sides
    languages: tuple[str, ...]

    def places(self, *sides: str) -> list[int]:
        """Places of the rows on some sides."""
        return [place for place, side in enumerate(self.sides.side) if side in sides]

    def kept(self, *sides: str) -> list[dict[str, Any]]:
        """Rows of some sides, each with its language."""
        places = self.places(*sides)
        rows = self.rows.table.take(pa.array(places, pa.int64())).to_pylist()
        return [
            row | {"language": self.languages[place], "split": self.sides.side[place]}
            for row, place in zip(rows, places, strict=True)
        ]


def write_source(source: SplitSource, folder: Path, extra: Sequence[str] = ()) -> dict[str, Any]:
    """Write what one source becomes.

    Args:
        source: rows and sides.
        folder: `NAME.own`.
        extra: further documents to search among.

    Returns:
        Its part of `split.json`, with `tokens`-free figures that the recipe's plan counts with.
    """
    name, kind = source.rows.name, source.rows.kind
    trained = training_rows(source)
    _write(pa.Table.from_pylist(trained, TRAIN_ROW), folder / "train" / f"{name}.parquet")
    documents = documents_of(source, extra)
    _write(_table({"id": list(documents), "text": list(documents.values())}), folder / "documents" / f"{name}.parquet")
    tables = {"labels": labelled_task, "scores": scored_task}.get(kind, search_task)(source, documents)
    for part, table in tables.items():
        _write(table, folder / "heldout" / name / f"{part}.parquet")
    doubts = doubts_of(source.rows)
    _write(pa.Table.from_pylist(doubts, DOUBT), folder / "doubts" / f"{name}.parquet")
    queries = {side: len({row["query"] for row in source.kept(side)}) for side in ("heldout", "validation", "train")}
    return {
        "kind": kind,
        "rows_read": source.rows.read,
        "left_out": dict(sorted(source.rows.lost.items())),
        "rows": dict(Counter(source.sides.side)),
        "queries": queries,
        "training_rows": sum(row["split"] == "train" for row in trained),
        "documents": len(documents),
        "languages": dict(Counter(source.languages).most_common()),
        "split_given": source.sides.given,
        "doubts": dict(Counter(one["kind"] for one in doubts)),
    }


def training_rows(source: SplitSource) -> list[dict[str, Any]]:
    """Rows as the corpus reads them (`TRAIN_ROW`): pairs, whatever the file held."""
    rows = source.kept("train", "validation")
    if source.rows.kind == "labels":
        return _pairs_of_labels(rows)
    if source.rows.kind == "scores":
        return _pairs_of_scores(rows)
    if source.rows.kind == "clicks":
        rows = _without_noise(rows)
    return [{**row, "passage": row["positives"]} for row in rows]


def _pairs_of_labels(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each text with another of its label; the label is the group, so that texts of one label are no negatives."""
    by_label: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: text_id(row["query"])):
        by_label[row["label"], row["split"]].append(row)
    pairs = []
    for members in by_label.values():
        for place, row in enumerate(members):
            other = members[(place + 1) % len(members)]
            if other["query"] != row["query"]:
                pairs.append({**row, "passage": [other["query"]], "group": row["label"], "negatives": None})
    return pairs


def _pairs_of_scores(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    low, high = min(row["score"] for row in rows), max(row["score"] for row in rows)
    share = {id(row): (row["score"] - low) / ((high - low) or 1.0) for row in rows}
    unlike: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        if share[id(row)] <= _UNLIKE:
            unlike[row["query"]] += row["positives"]
    return [
        {**row, "passage": row["positives"], "negatives": unlike.get(row["query"])}
        for row in rows
        if share[id(row)] >= _SIMILAR
    ]


def _without_noise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    largest: dict[str, float] = {}
    for row in rows:
        largest[row["query"]] = max(largest.get(row["query"], 0.0), row["score"] or 0.0)
    return [row for row in rows if (row["score"] or 0.0) > 0 and row["score"] >= _NOISE * largest[row["query"]]]


def documents_of(source: SplitSource, extra: Sequence[str] = ()) -> dict[str, str]:
    """Every document of the source, on whichever side, by id: answers, their negatives, or labelled texts."""
    table = source.rows.table
    if source.rows.kind == "labels":
        texts: Iterable[str] = table["query"].to_pylist()
    else:
        columns = (table[name].to_pylist() for name in ("positives", "negatives"))
        texts = (text for column in columns for found in column for text in found or ())
    return {document_id(text): text for text in (*texts, *extra)}


def document_id(text: str) -> str:
    """Name a document by its text."""
    return str(xxhash.xxh3_64_hexdigest(text.encode("utf-8", "surrogatepass")))


def search_task(source: SplitSource, documents: dict[str, str]) -> dict[str, pa.Table]:
    """Lay out the held-out queries as a search among all documents; languages with enough queries are scored alone."""
    rows = source.kept("heldout")
    known: dict[str, str] = {}
    relevant: dict[tuple[str, str], int] = {}
    weights = _grades(rows) if source.rows.kind == "clicks" else {}
    for row in rows:
        query = known.setdefault(row["query"], document_id(row["query"]))
        for text in row["positives"]:
            relevant[query, document_id(text)] = weights.get((row["query"], text), 1)
    subset = _subsets({row["query"]: row["language"] for row in rows})
    queries: dict[str, list[str]] = {"id": list(known.values()), "text": list(known)}
    if subset:
        queries["subset"] = [subset[text] for text in known]
    judged = sorted(relevant)
    answers = {text for row in rows for text in row["positives"]}
    return {
        "queries": _table(queries),
        "corpus": _table({"id": list(documents), "text": list(documents.values())}),
        "qrels": pa.table(
            {
                "query-id": [query for query, _ in judged],
                "corpus-id": [document for _, document in judged],
                "score": pa.array([relevant[one] for one in judged], pa.int64()),
            }
        ),
        "texts": _table({"text": sorted({*known, *answers})}),
    }


def _grades(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """Relevance 1 to 3 of clicked documents, by their share of the query's largest weight."""
    largest: dict[str, float] = {}
    for row in rows:
        largest[row["query"]] = max(largest.get(row["query"], 0.0), row["score"] or 0.0)
    return {
        (row["query"], text): 1 + round(2 * (row["score"] or 0.0) / (largest[row["query"]] or 1.0))
        for row in rows
        for text in row["positives"]
    }


def _subsets(language: dict[str, str]) -> dict[str, str]:
    """Subset of every query; empty where one language holds all that counts."""
    counts = Counter(language.values())
    alone = {code for code, count in counts.items() if count >= LEAST_SUBSET}
    if len(counts) < 2 or not alone:
        return {}
    rest = sum(count for code, count in counts.items() if code not in alone)
    other = "other" if rest >= LEAST_SUBSET else counts.most_common(1)[0][0]
    found = {text: code if code in alone else other for text, code in language.items()}
    return found if len(set(found.values())) > 1 else {}


def labelled_task(source: SplitSource, documents: dict[str, str]) -> dict[str, pa.Table]:
    """Lay out labelled text: a classifier is fitted on the training rows and judged on the held-out ones."""
    parts = {"test": source.kept("heldout"), "train": source.kept("train", "validation")}
    tables = {
        name: _table({"text": [row["query"] for row in rows], "label": [row["label"] for row in rows]})
        for name, rows in parts.items()
    }
    return tables | {"texts": tables["test"].select(["text"])}


def scored_task(source: SplitSource, documents: dict[str, str]) -> dict[str, pa.Table]:
    """Lay out scored pairs: cosines are rank-correlated with the scores."""
    rows = [(row["query"], text, row["score"]) for row in source.kept("heldout") for text in row["positives"]]
    first, second, score = (list(column) for column in zip(*rows, strict=True))
    pairs = pa.table({"sentence1": first, "sentence2": second, "score": pa.array(score, pa.float64())})
    return {"pairs": pairs, "texts": _table({"text": sorted({*first, *second})})}


def doubts_of(rows: OwnRows) -> list[dict[str, Any]]:
    """Rows that are there several times, and questions that several rows answer otherwise (`DOUBT`)."""
    found = [
        {"kind": "repeated", "query": query, "answers": list(answers or [label]), "times": times}
        for (query, answers, label), times in rows.repeated.most_common()
    ]
    if rows.kind in ("clicks", "scores", "translations"):  # several partners are what these hold
        return found
    answers_of: defaultdict[str, set[str]] = defaultdict(set)
    times_of: Counter[str] = Counter()
    for row in rows.table.select(["query", "positives", "label"]).to_pylist():
        answers_of[row["query"]].add("\n".join(row["positives"]) if row["positives"] else row["label"])
        times_of[row["query"]] += 1
    order = sorted(answers_of, key=lambda query: -len(answers_of[query]))
    several = [
        {"kind": "several_answers", "query": query, "answers": sorted(answers_of[query]), "times": times_of[query]}
        for query in order
        if len(answers_of[query]) > 1
    ]
    return [*several, *found]


def _table(columns: dict[str, list[str]]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")
