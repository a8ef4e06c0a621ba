"""From rows to the records of the artifact: `Pair`s with ids, instructions and split, and each `Document` once."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.written_instructions import begins_with_instruction
from polyglossa.corpus.hashing import SEPARATOR, as_one_array, halves, of_distinct, shares, text_hashes, text_ids
from polyglossa.corpus.instructions import (
    SYMMETRIC_TASKS,
    documents_instructed,
    instruction_for,
)  # fmt: skip
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.records import DOCUMENT, PAIR
from polyglossa.scratch.task_store import sort_by_id

LOCATED_DOCUMENT = pa.schema(
    [*DOCUMENT, pa.field("rank", pa.int32(), nullable=False), pa.field("heldout", pa.bool_(), nullable=False)]
)
"""A document, the rank of its source in recipe order, and whether a held-out pair refers to it."""


def pairs_from(rows: pa.Table, config: CorpusConfig, written: Sequence[str] = ()) -> pa.Table:
    """Make `PAIR` rows, in the order of the rows, whose key becomes the pair's id.

    Args:
        rows: rows that stay (`annotate.ROW`).
        config: instructions, and the salt of choices.
        written: sources whose documents hold instructions already, so that no document of theirs is given another.
    """
    positives, negatives = _ids(rows["positives"]), _ids(rows["negatives"])
    instruction = _instructions(rows, config)
    first = positives.take(pa.array(_starts(rows["positives"])))
    symmetric = pc.is_in(rows["task"], pa.array(sorted(SYMMETRIC_TASKS))).combine_chunks()
    if written:
        own = pc.is_in(rows["source"], pa.array(written, pa.string())).combine_chunks()
        symmetric = pc.and_(symmetric, pc.invert(own))
    instructed = pc.and_(symmetric, pa.array(documents_instructed(config.instructions, first, config.seed)))
    columns = {
        "pair_id": rows["key"],
        "query": rows["query"],
        "positive_ids": _as_lists(positives, rows["positives"]),
        "task": rows["task"],
        "instruction": instruction,
        "document_instruction": pc.if_else(instructed, instruction, pa.scalar(None, pa.string())),
        "group": rows["group"],
        "label": rows["label"],
        "score": rows["score"],
        "negative_ids": _as_lists(negatives, rows["negatives"]),
        "split": pc.coalesce(rows["split"], splits_of(rows["query"], config)),
        "language": rows["query_language"],
        "language_confidence": rows["language_confidence"],
        "source": rows["source"],
    }
    return pa.table(columns, schema=PAIR)


def _instructions(rows: pa.Table, config: CorpusConfig) -> pa.Array:
    """A row's own instruction, else its source's, else its task's; none where the query begins with one."""
    kinds = as_one_array(pc.binary_join_element_wise(rows["task"], rows["source"], SEPARATOR))
    known = of_distinct(kinds, lambda kind: instruction_for(config.instructions, *kind.split(SEPARATOR)))
    own = as_one_array(rows["instruction"])
    chosen = pc.if_else(pc.fill_null(pc.not_equal(own, ""), False), own, known)
    begins = begins_with_instruction(as_one_array(rows["query"]))
    return pc.if_else(begins, pa.scalar(None, pa.string()), chosen) if begins.true_count else chosen


def splits_of(queries: pa.Array | pa.ChunkedArray, config: CorpusConfig) -> pa.Array:
    """Choose train or validation by the query, so that rows of one query are on one side."""
    drawn = shares(text_ids(as_one_array(queries)), config.seed, "validation")
    return pc.if_else(pa.array(drawn < config.validation_share, pa.bool_()), "validation", "train")


def _ids(lists: pa.ChunkedArray) -> pa.Array:
    """Ids of all texts of a list column, in order."""
    return text_ids(as_one_array(pc.list_flatten(lists)))


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
    return sort_by_id(_distinct(located), "doc_id").select(DOCUMENT.names).cast(DOCUMENT)


def _distinct(located: pa.Table) -> pa.Table:
    """The first of the rows with one id and role, by rank, language and script."""
    first, second = halves(located["doc_id"].combine_chunks())
    keys = [_ranks(as_one_array(located[name])) for name in ("script", "language")]
    flags = located["heldout"].to_numpy(zero_copy_only=False) if located.num_rows else np.zeros(0, bool)
    order = np.lexsort((*keys, located["rank"].to_numpy(), flags, second, first))
    same = (first[order][1:] == first[order][:-1]) & (second[order][1:] == second[order][:-1])
    same &= flags[order][1:] == flags[order][:-1]
    return located.take(pa.array(order[np.concatenate([[True], ~same])[: len(order)]]))


def _ranks(column: pa.Array) -> np.ndarray:
    """Rank of each text among the distinct ones; nulls come last."""
    encoded = column.dictionary_encode()
    ranks = pc.rank(encoded.dictionary, tiebreaker="dense").to_numpy()
    return np.append(ranks, len(ranks) + 1)[pc.fill_null(encoded.indices, len(ranks)).to_numpy()]


def query_hashes(rows: pa.Table, seed: int, *, distinct: bool = True) -> pa.Table:
    """Hash the queries: columns source, language and hash, of all rows or of each distinct one."""
    table = pa.table(
        {
            "source": rows["source"],
            "language": pc.fill_null(rows["query_language"], ""),
            "hash": pa.array(text_hashes(as_one_array(rows["query"]), seed), pa.uint64()),
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
