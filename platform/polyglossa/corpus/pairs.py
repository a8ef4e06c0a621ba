"""From rows to the records of the artifact: `Pair`s with ids, instructions and split, and each `Document` once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from polyglossa.corpus.instructions import (
    SYMMETRIC_TASKS,
    document_is_instructed,
    draw_share,
    instruction_for,
)  # fmt: skip
from polyglossa.corpus.scratch import halves, sorted_by_id
from polyglossa.recipe.corpus import CorpusConfig
from polyglossa.records import DOCUMENT, ID, PAIR, text_id

LOCATED_DOCUMENT = pa.schema(
    [*DOCUMENT, pa.field("rank", pa.int32(), nullable=False), pa.field("heldout", pa.bool_(), nullable=False)]
)
"""A document, the rank of its source in recipe order, and whether a held-out pair refers to it."""


def pairs_from(rows: pa.Table, config: CorpusConfig) -> pa.Table:
    """Make `PAIR` rows, in the order of the rows, whose key becomes the pair's id."""
    positives, negatives = _ids(rows["positives"]), _ids(rows["negatives"])
    tasks, sources, splits = (rows[name].to_pylist() for name in ("task", "source", "split"))
    queries = rows["query"].to_pylist()
    instructions = [
        own or instruction_for(config.instructions, task, source)
        for own, task, source in zip(rows["instruction"].to_pylist(), tasks, sources, strict=True)
    ]
    first = positives.take(pa.array(_starts(rows["positives"]))).to_pylist()
    instructed = [
        task in SYMMETRIC_TASKS and document_is_instructed(config.instructions, document, config.seed)
        for task, document in zip(tasks, first, strict=True)
    ]
    columns = {
        "pair_id": rows["key"],
        "query": rows["query"],
        "positive_ids": _as_lists(positives, rows["positives"]),
        "task": rows["task"],
        "instruction": instructions,
        "document_instruction": [text if too else None for text, too in zip(instructions, instructed, strict=True)],
        "group": rows["group"],
        "label": rows["label"],
        "score": rows["score"],
        "negative_ids": _as_lists(negatives, rows["negatives"]),
        "split": [split or split_of(query, config) for split, query in zip(splits, queries, strict=True)],
        "language": rows["query_language"],
        "language_confidence": rows["language_confidence"],
        "source": rows["source"],
    }
    return pa.table(columns, schema=PAIR)


def split_of(query: str, config: CorpusConfig) -> str:
    """Choose train or validation by the query, so that rows of one query are on one side."""
    drawn = draw_share(text_id(query), config.seed, b"validation")
    return "validation" if drawn < config.validation_share else "train"


def _ids(lists: pa.ChunkedArray) -> pa.Array:
    """Ids of all texts of a list column, in order."""
    return pa.array([text_id(text) for text in pc.list_flatten(lists).to_pylist()], ID)


def _lengths(lists: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)


def _starts(lists: pa.ChunkedArray) -> np.ndarray:
    lengths = _lengths(lists)
    return np.cumsum(lengths) - lengths


def _as_lists(values: pa.Array, like: pa.ChunkedArray) -> pa.Array:
    offsets = pa.array(np.concatenate([[0], np.cumsum(_lengths(like))]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=like.combine_chunks().is_null())


def documents_of(rows: pa.Table, pairs: pa.Table, sources: Sequence[str]) -> pa.Table:
    """List the documents of the rows (`LOCATED_DOCUMENT`), each once per source and role."""
    parts = [_documents(rows, pairs, texts, ids, sources) for texts, ids in _ROLES]
    return _distinct(pa.concat_tables(parts))


_ROLES = (("positives", "positive_ids"), ("negatives", "negative_ids"))


def _documents(rows: pa.Table, pairs: pa.Table, texts: str, ids: str, sources: Sequence[str]) -> pa.Table:
    row = pa.array(np.repeat(np.arange(rows.num_rows), _lengths(rows[texts])))
    source = rows["source"].take(row)
    columns = {
        "doc_id": pc.list_flatten(pairs[ids]),
        "text": pc.list_flatten(rows[texts]),
        "language": rows["positive_language"].take(row),
        "script": rows["positive_script"].take(row),
        "source": source,
        "rank": pc.index_in(source, pa.array(sources, pa.string())).cast(pa.int32()),
        "heldout": pc.equal(pairs["split"], "heldout").take(row),
    }
    return pa.table(columns, schema=LOCATED_DOCUMENT)


def unique_documents(located: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return documents of training and validation pairs, and of held-out pairs: each once, sorted by id.

    A text that several sources hold belongs to the first of them; of several languages the first by name counts.
    """
    heldout = located["heldout"]
    return _documents_once(located.filter(pc.invert(heldout))), _documents_once(located.filter(heldout))


def _documents_once(located: pa.Table) -> pa.Table:
    return sorted_by_id(_distinct(located), "doc_id").select(DOCUMENT.names).cast(DOCUMENT)


def _distinct(located: pa.Table) -> pa.Table:
    """The first of the rows with one id and role, by rank, language and script."""
    first, second = halves(located["doc_id"].combine_chunks())
    keys = [pc.rank(located[name].combine_chunks(), tiebreaker="dense").to_numpy() for name in ("script", "language")]
    flags = located["heldout"].to_numpy(zero_copy_only=False) if located.num_rows else np.zeros(0, bool)
    order = np.lexsort((*keys, located["rank"].to_numpy(), flags, second, first))
    same = (first[order][1:] == first[order][:-1]) & (second[order][1:] == second[order][:-1])
    same &= flags[order][1:] == flags[order][:-1]
    return located.take(pa.array(order[np.concatenate([[True], ~same])[: len(order)]]))


def query_hashes(rows: pa.Table, seed: int, *, distinct: bool = True) -> pa.Table:
    """Hash the queries: columns source, language and hash, of all rows or of each distinct one."""
    table = pa.table(
        {
            "source": rows["source"],
            "language": pc.fill_null(rows["query_language"], ""),
            "hash": pa.array(
                [xxhash.xxh3_64_intdigest(query.encode(), seed=seed) for query in rows["query"].to_pylist()],
                pa.uint64(),
            ),
        }
    )
    if not distinct:
        return table
    trained = table.filter(pc.fill_null(pc.not_equal(rows["split"], "heldout"), True))
    return (
        trained.group_by(["source", "language", "hash"])
        .aggregate([])
        .sort_by([("source", "ascending"), ("language", "ascending"), ("hash", "ascending")])
    )
