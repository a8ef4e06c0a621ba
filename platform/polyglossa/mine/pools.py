"""Plan what is mined: which rows, against which pool of documents, and what is no negative whatever its score.

Pure: Arrow tables and numpy arrays in, small frozen values out. Documents are numbered in the order of their ids, so
"ties by number" means ties by id. Nothing here knows a vector.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.errors import DataError
from polyglossa.hash_order import ODD, reading_order
from polyglossa.mine.choose import contains
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.vectors import as_keys

Ints = npt.NDArray[np.int64]

MINED_TASKS = ("retrieval", "bitext")
QUERIES_PER_UNIT = 8192


@dataclass(frozen=True)
class Ragged:
    """Lists of integers end to end: list i is `values[offsets[i]:offsets[i + 1]]`."""

    offsets: Ints
    values: Ints

    @classmethod
    def group(cls, code: Ints, value: Ints, codes: int) -> "Ragged":
        """Collect the distinct values of every code 0 … codes − 1; negative codes are left out."""
        real = code >= 0
        pairs = np.unique(np.stack([code[real], value[real]], axis=1), axis=0)
        return cls(np.searchsorted(pairs[:, 0], np.arange(codes + 1)), pairs[:, 1])

    def take(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return (position in `rows`, value) for every value of every list asked for; a row of −1 has none."""
        real = np.flatnonzero(rows >= 0)
        start, stop = self.offsets[rows[real]], self.offsets[rows[real] + 1]
        count = stop - start
        inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(real, count), self.values[np.repeat(start, count) + inside]


@dataclass(frozen=True)
class Rows:
    """All training and validation pairs, source after source, in columns."""

    table: pa.Table
    source_offsets: Mapping[str, tuple[int, int]]
    positives: Ragged
    """Row → document numbers."""
    query_code: Ints
    """Rows with the same query text share a code."""
    group_code: Ints
    """Rows of one group of one source share a code; −1 for rows without a group."""
    known: Ragged
    """Query code → every document that is a positive of that query anywhere."""
    grouped: Ragged
    """Group code → every document that is a positive of a row of that group."""

    @classmethod
    def read(cls, pairs: Mapping[str, pa.Table], documents: pa.Table) -> "Rows":
        """Index the pairs of every source.

        Raises:
            DataError: a row's positive is not among the documents.
        """
        table = pa.concat_tables(pairs.values()).combine_chunks()
        sizes = np.cumsum([0, *(len(part) for part in pairs.values())])
        offsets = {name: (int(sizes[i]), int(sizes[i + 1])) for i, name in enumerate(pairs)}
        positives = number_documents(table.column("positive_ids"), documents)
        row = np.repeat(np.arange(len(table)), np.diff(positives.offsets))
        query_code = _codes(table.column("query"))
        group = pc.binary_join_element_wise(table.column("source"), table.column("group"), "\x1f")
        group_code = _codes(group)
        return cls(
            table,
            offsets,
            positives,
            query_code,
            group_code,
            Ragged.group(query_code[row], positives.values, int(query_code.max(initial=-1)) + 1),
            Ragged.group(group_code[row], positives.values, int(group_code.max(initial=-1)) + 1),
        )


@dataclass(frozen=True)
class Unit:
    """Rows that are searched against one pool together."""

    source: str
    pool: str
    """Name of the pool: what the audit groups by."""
    row: Ints
    """[Q] row numbers."""
    candidates: Ints
    """[N] document numbers, ascending."""


def sort_documents(documents: pa.Table) -> pa.Table:
    """Order documents by id: from here on a document is its row number."""
    keys = as_keys(documents.column("doc_id"))
    return documents.take(np.lexsort((keys[:, 1], keys[:, 0]))).combine_chunks()


def number_documents(lists: pa.ChunkedArray, documents: pa.Table) -> Ragged:
    """Turn lists of ids into lists of document numbers.

    Raises:
        DataError: an id is not among the documents.
    """
    lists = lists.combine_chunks()
    number = pc.index_in(lists.flatten(), value_set=documents.column("doc_id").combine_chunks())
    if number.null_count:
        raise DataError(f"corpus: {number.null_count} ids that pairs refer to are not among the documents.")
    count = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return Ragged(np.append(0, np.cumsum(count)), number.to_numpy(zero_copy_only=False).astype(np.int64))


def rows_to_mine(rows: Rows, config: MineConfig, sources: Collection[str]) -> dict[str, Ints]:
    """Say which rows of some sources are mined, by source; the others' rows are there for what they exclude."""
    mined: dict[str, Ints] = {}
    for source, (start, stop) in rows.source_offsets.items():
        if source not in sources:
            continue
        part = rows.table.slice(start, stop - start)
        row = np.flatnonzero(may_be_mined(part, source, config))
        if config.max_queries is not None and len(row) > config.max_queries:
            read = np.argsort(first_read(part.take(pa.array(row)), config.seed), kind="stable")
            row = row[np.sort(read[: config.max_queries])]
        if len(row):
            mined[source] = start + row
    return mined


def may_be_mined(pairs: pa.Table, source: str, config: MineConfig) -> npt.NDArray[np.bool_]:
    """Tell which pairs of a source are mined unless `max_queries` leaves them out."""
    if config.sources and source not in config.sources:
        return np.zeros(len(pairs), bool)
    given = pc.fill_null(pc.list_value_length(pairs["negative_ids"]), 0).to_numpy() > 0
    wanted = pc.is_in(pairs["task"], value_set=pa.array(MINED_TASKS)).to_numpy() | bool(config.sources)
    return np.asarray(wanted & (config.replace | ~given))


def first_read(pairs: pa.Table, seed: int) -> npt.NDArray[np.uint64]:
    """Key of each pair by which a training stage of the same seed reads it: of its positives, the one read first."""
    ids = as_keys(pairs["pair_id"]).astype(">u8").view("S16")[:, 0]
    counts = pc.list_value_length(pairs["positive_ids"]).to_numpy()
    place = np.repeat(np.arange(len(pairs)), counts)
    turn = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = np.full(len(pairs), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(first, place, reading_order(ids[place], turn, seed))
    return first


def units(rows: Rows, mined: Mapping[str, Ints], documents: pa.Table, config: MineConfig) -> Iterator[Unit]:
    """Cut the mined rows into units: one pool each, at most `QUERIES_PER_UNIT` rows.

    Args:
        rows: all rows.
        mined: rows that are mined, by source.
        documents: sorted by id; their column `pools` says whose candidates each is (numbers of sources, in order).
        config: settings of the recipe.
    """
    language_of = _codes(documents.column("language"))
    names = {
        int(code): str(name) for code, name in zip(language_of, documents.column("language").to_pylist(), strict=True)
    }
    salt = as_keys(documents.column("doc_id"))[:, 1]
    pools = documents.column("pools").combine_chunks()
    member, pool = pc.list_parent_indices(pools).to_numpy(), pools.flatten().to_numpy()
    numbers = {source: number for number, source in enumerate(rows.source_offsets)}
    for source, row in mined.items():
        candidates = member[pool == (0 if config.pool == "all" else numbers[source])].astype(np.int64)
        if config.pool != "language":
            yield from _cut(source, source, row, _cap(candidates, salt, config))
            continue
        row = row[np.diff(rows.positives.offsets)[row] > 0]  # without a positive a row has no language to search in
        language = language_of[rows.positives.values[rows.positives.offsets[row]]]
        for code in np.unique(language):
            own = _cap(candidates[language_of[candidates] == code], salt, config)
            yield from _cut(source, f"{source}/{names[int(code)]}", row[language == code], own)


def _cut(source: str, pool: str, row: Ints, candidates: Ints) -> Iterator[Unit]:
    for start in range(0, len(row), QUERIES_PER_UNIT):
        yield Unit(source, pool, row[start : start + QUERIES_PER_UNIT], candidates)


def exclusions(rows: Rows, unit: Unit, text_document: Ints) -> tuple[Ints, npt.NDArray[np.int8]]:
    """List the candidates of a unit that are no negatives for what they are.

    Args:
        rows: all rows.
        unit: the unit.
        text_document: [Q] number of the document whose text is the query's, −1 where there is none.

    Returns:
        Sorted codes (position of the row in the unit) · N + (position of the document in the pool), and the rule of
        each (a key of `choose.IDENTITY`).
    """
    parts = [
        (1, *rows.positives.take(unit.row)),
        (1, *rows.known.take(rows.query_code[unit.row])),
        (2, *rows.grouped.take(rows.group_code[unit.row])),
        (3, np.flatnonzero(text_document >= 0), text_document[text_document >= 0]),
    ]
    size = len(unit.candidates)
    codes, rules = [], []
    for rule, query, document in parts:
        inside = contains(unit.candidates, document)
        place = np.searchsorted(unit.candidates, document[inside])
        codes.append(query[inside] * size + place)
        rules.append(np.full(len(place), rule, np.int8))
    code, first = np.unique(np.concatenate(codes), return_index=True)  # the first rule that names a pair keeps it
    return code, np.concatenate(rules)[first]


def _codes(column: pa.ChunkedArray) -> Ints:
    """Number the distinct values of a column; null is −1."""
    encoded = column.combine_chunks().dictionary_encode()
    return pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _cap(candidates: Ints, salt: npt.NDArray[np.uint64], config: MineConfig) -> Ints:
    """At most `max_candidates` of a pool, by hash, in ascending order."""
    if config.max_candidates is None or len(candidates) <= config.max_candidates:
        return candidates
    order = np.argsort(candidate_order(salt[candidates], config.seed), kind="stable")
    return candidates[np.sort(order[: config.max_candidates])]


def candidate_order(salt: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Keys by which a capped pool takes its documents: the lower halves of their ids, mixed."""
    with np.errstate(over="ignore"):
        mixed = (salt ^ np.uint64(seed)) * ODD
    return mixed ^ (mixed >> np.uint64(29))
