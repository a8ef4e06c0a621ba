"""From candidates to pairs and documents: every candidate becomes exactly one pair or one reject with a reason.

Rules apply in this order: `empty`, `too_long`, `equal_query_and_positive`, `heldout_leak` (a text of a training row is
a held-out text but for case, white space and compatibility forms), `duplicate` (an earlier row has the same task, query
and positives). Pure: the output is sorted by hash, so it depends on the candidates and the config alone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.instructions import SYMMETRIC_TASKS, document_is_instructed, draw_share, instruction_for
from polyglossa.corpus.text import fold
from polyglossa.recipe.corpus import CorpusConfig
from polyglossa.records import DOCUMENT, PAIR, REJECT, row_id, text_id

_REJECTED_TEXT = 400
"""Texts of rejected rows are cut here (characters)."""

Row = Mapping[str, Any]


@dataclass
class Admission:
    """What became of the candidates."""

    pairs: dict[str, pa.Table]
    """Pairs by source, every split."""
    documents: pa.Table
    """Positives and negatives of training and validation pairs."""
    heldout_documents: pa.Table
    """Positives and negatives of held-out pairs."""
    rejects: pa.Table


@dataclass
class _Collected:
    pairs: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    documents: dict[bytes, tuple[str, str | None, str | None, str]] = field(default_factory=dict)
    heldout_documents: dict[bytes, tuple[str, str | None, str | None, str]] = field(default_factory=dict)
    rejects: list[tuple[str, str, str, str]] = field(default_factory=list)


def admit(candidates: Sequence[pa.Table], config: CorpusConfig) -> Admission:
    """Judge all candidates.

    Args:
        candidates: tables of `CANDIDATE` rows in recipe order: of two equal rows the first is kept.
        config: limits, shares, instructions and the seed.
    """
    secret = heldout_texts(candidates)
    collected = _Collected()
    for table in candidates:
        for row in _rows(table):
            _admit_row(row, secret, config, collected)
    return Admission(
        pairs=_pairs_by_source(
            collected.pairs, sorted({s for t in candidates for s in t["source"].unique().to_pylist()})
        ),
        documents=_document_table(collected.documents),
        heldout_documents=_document_table(collected.heldout_documents),
        rejects=_reject_table(collected.rejects),
    )


def _admit_row(row: Row, secret: frozenset[str], config: CorpusConfig, collected: _Collected) -> None:
    reason = reason_to_drop(row, secret, config.max_characters)
    pair_id = row_id(row["task"], row["query"] or "", *(text or "" for text in row["positives"] or ()))
    if reason is None and pair_id in collected.pairs:
        reason = "duplicate"
    if reason is not None:
        collected.rejects.append((row["source"], "corpus", reason, _shortened(row)))
        return
    documents = collected.heldout_documents if row["split"] == "heldout" else collected.documents
    for text in (*row["positives"], *(row["negatives"] or ())):
        described = (text, row["positive_language"], row["positive_script"], row["source"])
        documents.setdefault(text_id(text), described)
    collected.pairs[pair_id] = pair_from(row, pair_id, config)


def heldout_texts(candidates: Iterable[pa.Table]) -> frozenset[str]:
    """Return the folded texts that no training row may hold.

    Queries and positives of held-out rows; of classification rows the queries only, as labels are shared.
    """
    secret: set[str] = set()
    for table in candidates:
        heldout = table.filter(pc.equal(table["split"], "heldout"))
        secret.update(fold(text) for text in heldout["query"].to_pylist() if text)
        asked = heldout.filter(pc.not_equal(heldout["task"], "classification"))
        secret.update(fold(text) for texts in asked["positives"].to_pylist() for text in texts or () if text)
    return frozenset(secret)


def reason_to_drop(row: Row, secret: frozenset[str], max_characters: int) -> str | None:
    """Return why a candidate cannot become a pair, or None."""
    query, positives, negatives = row["query"], row["positives"], row["negatives"] or ()
    if not query or not positives or not all(positives):
        return "empty"
    texts = (query, *positives, *negatives)
    if any(len(text) > max_characters for text in texts):
        return "too_long"
    if query in positives:
        return "equal_query_and_positive"
    if row["split"] != "heldout" and secret and any(fold(text) in secret for text in texts):
        return "heldout_leak"
    return None


def pair_from(row: Row, pair_id: bytes, config: CorpusConfig) -> dict[str, Any]:
    """Make the `PAIR` row of an admitted candidate."""
    positive_ids = [text_id(text) for text in row["positives"]]
    instruction = instruction_for(config.instructions, row["task"], row["source"])
    instructed = row["task"] in SYMMETRIC_TASKS and document_is_instructed(
        config.instructions, positive_ids[0], config.seed
    )
    return {
        "pair_id": pair_id,
        "query": row["query"],
        "positive_ids": positive_ids,
        "task": row["task"],
        "instruction": instruction,
        "document_instruction": instruction if instructed else None,
        "group": row["group"],
        "label": row["label"],
        "score": row["score"],
        "negative_ids": [text_id(text) for text in row["negatives"]] if row["negatives"] else None,
        "split": row["split"] or split_of(row["query"], config),
        "language": row["query_language"],
        "language_confidence": None,
        "source": row["source"],
    }


def split_of(query: str, config: CorpusConfig) -> str:
    """Choose train or validation by the query, so that rows of one query are on one side."""
    drawn = draw_share(text_id(query), config.seed, b"validation")
    return "validation" if drawn < config.validation_share else "train"


def _rows(table: pa.Table) -> Iterable[Row]:
    for batch in table.to_batches(max_chunksize=16_384):
        yield from batch.to_pylist()


def _shortened(row: Row) -> str:
    texts = {"query": row["query"], "positives": row["positives"], "negatives": row["negatives"]}
    kept = {
        key: value[:_REJECTED_TEXT] if isinstance(value, str) else [text and text[:_REJECTED_TEXT] for text in value]
        for key, value in texts.items()
        if value is not None
    }
    return json.dumps({**kept, "language": row["query_language"], "label": row["label"]}, ensure_ascii=False)


def _pairs_by_source(pairs: Mapping[bytes, dict[str, Any]], sources: Sequence[str]) -> dict[str, pa.Table]:
    by_source: dict[str, list[dict[str, Any]]] = {source: [] for source in sources}
    for pair_id in sorted(pairs):
        by_source[pairs[pair_id]["source"]].append(pairs[pair_id])
    return {source: pa.Table.from_pylist(rows, PAIR) for source, rows in by_source.items()}


def _document_table(documents: Mapping[bytes, tuple[str, str | None, str | None, str]]) -> pa.Table:
    rows = [(doc_id, *documents[doc_id]) for doc_id in sorted(documents)]
    return _from_tuples(rows, DOCUMENT)


def _reject_table(rejects: Sequence[tuple[str, str, str, str]]) -> pa.Table:
    return _from_tuples(sorted(rejects), REJECT)


def _from_tuples(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
