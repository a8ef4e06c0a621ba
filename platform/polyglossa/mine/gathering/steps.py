"""The work of one task in each step of gathering; memory depends on its piece and on what is mined, not on the corpus.

count: files of pairs → how many rows may be mined, and which are read first. ask: the same files → queries and groups
of the rows that are mined, and their sources' positives by bucket. relate: all files → rows that share a query or a
group with a mined one, themselves among them, by part. locate: files of documents → where each lies, by bucket. choose:
a bucket → documents of pools, capped. fetch: files of documents → those that were chosen, by part. attach: files of
pairs → the rows with what was mined for them.

A part is some of the mined sources with their pools: what is in memory at a time.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from polyglossa.artifact import open_storage
from polyglossa.embedding.text_chunks import ids_of
from polyglossa.mine.pools import Ragged, candidate_order, first_read, may_be_mined
from polyglossa.recipe.sections.mine import MineConfig
from polyglossa.records import DOCUMENT, ID, PAIR
from polyglossa.scratch.task_store import (
    TaskStore,
    bucket_of,
    read_array,
    read_bucket,
    write_array,
    write_buckets,
)
from polyglossa.vectors import as_keys

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Figures = dict[str, Any]

NEEDED = -1
"""Instead of a pool: a document that a row of the first part refers to; NEEDED − part for the others."""
SPLITS = ("train", "validation")
"""What is held out stays out of mining."""
_PLACE = [pa.field("file", pa.int32(), nullable=False), pa.field("place", pa.int64(), nullable=False)]
ROW = pa.schema([*PAIR, *_PLACE])
"""A pair, its file, and its place there."""
REFERENCE = pa.schema([pa.field("doc_id", ID, nullable=False), pa.field("pool", pa.int32(), nullable=False)])
"""A document that belongs to a pool because a row refers to it."""
LOCATED = pa.schema(
    [pa.field("doc_id", ID, nullable=False), pa.field("pool", pa.int32()), pa.field("language", pa.string()), *_PLACE]
)
"""A document, the pool of its own source (null: that source is not mined), and where it lies."""
CHOSEN = pa.schema(
    [
        *_PLACE,
        pa.field("pool", pa.int32(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("order", pa.uint64(), nullable=False),
    ]
)
"""A document of a pool, and what decides whether it is among a capped pool's."""
POOLED = DOCUMENT.append(pa.field("pools", pa.list_(pa.int32()), nullable=False))
"""A document and its pools."""

_ROWS = 16_384  # read of a file at once


def outcome_schema(written: pa.Schema) -> pa.Schema:
    """Columns of what mining did to a row, where rows are written as MINED_PAIR or with further columns."""
    own = [field for field in written if field.name not in PAIR.names]
    flags = [pa.field(name, pa.bool_(), nullable=False) for name in ("rejected", "mined")]
    return pa.schema([*_PLACE, *flags, PAIR.field("negative_ids"), *own])


@dataclass(frozen=True)
class Plan:
    """What every task knows."""

    config: MineConfig
    sources: tuple[str, ...]
    """Of the corpus, by name; a pool is known by its source's number."""
    pairs: tuple[tuple[int, str], ...]
    """Number of the source, and address, of each file of pairs, in order."""
    documents: tuple[str, ...]
    """Addresses of the files of documents."""
    buckets: int
    mined: tuple[int, ...] = ()
    """Sources that are mined (from `ask` on)."""
    parts: tuple[tuple[int, ...], ...] = ()
    """The mined sources by part, likewise."""
    limits: tuple[tuple[int, int], ...] = ()
    """Largest key of the rows that are read first, of each source that is capped, likewise."""

    @property
    def part_of(self) -> Ints:
        """Part of each source, and of its pool; −1 where it is not mined."""
        found = np.full(len(self.sources), -1, np.int64)
        for part, sources in enumerate(self.parts):
            found[list(sources)] = part
        return found


@dataclass(frozen=True)
class Asked:
    """Which parts ask a query."""

    keys: Keys
    """Ascending."""
    parts: Ragged
    """Place among the keys → parts."""

    def parts_of(self, keys: Keys) -> tuple[Ints, Ints]:
        """Return (row, part) for every part that asks a row's query."""
        return self.parts.take(np.where(_among(keys, self.keys), np.searchsorted(self.keys, keys), -1))


def count(work: TaskStore, plan: Plan, files: Sequence[int]) -> Figures:
    """Count rows, and those that may be mined; keep the keys of those that training reads first."""
    rows: Counter[int] = Counter()
    minable: Counter[int] = Counter()
    keys: defaultdict[int, list[Keys]] = defaultdict(list)
    most = plan.config.max_queries
    for source, table in _rows(plan, files, ("pair_id", "positive_ids", "negative_ids", "task")):
        wanted = table.filter(pa.array(may_be_mined(table, plan.sources[source], plan.config)))
        rows[source] += len(table)
        minable[source] += len(wanted)
        if most is not None:
            keys[source] = [np.sort(np.concatenate([*keys[source], first_read(wanted, plan.config.seed)]))[:most]]
    for source, parts in keys.items():
        write_array(parts[0], work.at(f"keys-{source}.npy"))
    return {"rows": sorted(rows.items()), "minable": sorted(minable.items())}


def ask(work: TaskStore, plan: Plan, files: Sequence[int]) -> Figures:
    """Write what the mined rows ask and which groups they are of, and the documents that their sources refer to."""
    limits = dict(plan.limits)
    part_of = plan.part_of
    queries: list[Keys] = [np.empty((0, 2), np.uint64)]
    groups: list[Keys] = [np.empty(0, np.uint64)]
    references = [REFERENCE.empty_table()]
    for source, table in _rows(plan, files, ("pair_id", "query", "positive_ids", "negative_ids", "task", "group")):
        wanted = table.filter(pa.array(may_be_mined(table, plan.sources[source], plan.config)))
        if source in limits:
            wanted = wanted.filter(pa.array(first_read(wanted, plan.config.seed) <= np.uint64(limits[source])))
        keys = _query_keys(wanted)
        queries.append(np.stack([keys, np.full(len(keys), part_of[source], np.uint64)], axis=1))
        groups.append(_group_keys(wanted, plan.sources[source]))
        if plan.config.pool != "all":
            references.append(_references(table, source))
    write_array(np.unique(np.concatenate(queries), axis=0), work.at("queries.npy"))
    write_array(np.unique(np.concatenate(groups)), work.at("groups.npy"))
    _write_references(pa.concat_tables(references), plan, work)
    return {}


@functools.lru_cache(maxsize=1)
def _asked(uris: tuple[str, ...]) -> Asked:
    """Queries of all mined rows, read once by each worker."""
    pairs = np.unique(np.concatenate([np.empty((0, 2), np.uint64), *map(read_array, uris)]), axis=0)
    keys, first = np.unique(pairs[:, 0], return_index=True)
    return Asked(keys, Ragged(np.append(first, len(pairs)), pairs[:, 1].astype(np.int64)))


@functools.lru_cache(maxsize=1)
def _asked_groups(uris: tuple[str, ...]) -> Keys:
    """Groups of all mined rows, likewise."""
    return np.unique(np.concatenate([np.empty(0, np.uint64), *map(read_array, uris)]))


def relate(
    work: TaskStore, plan: Plan, files: Sequence[int], query_files: tuple[str, ...], group_files: tuple[str, ...]
) -> Figures:
    """Write the rows that share a query or a group with a mined one, and the documents that they refer to, by part."""
    asked, groups, part_of = _asked(query_files), _asked_groups(group_files), plan.part_of
    references = [REFERENCE.empty_table()]
    tables = [ROW.empty_table()]
    parts: list[Ints] = [np.empty(0, np.int64)]
    for source, table in _rows(plan, files, PAIR.names):
        row, part = asked.parts_of(_query_keys(table))
        grouped = np.flatnonzero(pc.is_valid(table["group"]).to_numpy())
        own = grouped[_among(_group_keys(table, plan.sources[source]), groups)]
        row, part = np.append(row, own), np.append(part, np.full(len(own), part_of[source]))
        row, part = np.unique(np.stack([row, part], axis=1), axis=0).T
        tables.append(table.take(pa.array(row)).select(ROW.names).cast(ROW))
        parts.append(part)
        references += [_references(tables[-1].filter(pa.array(part == one)), NEEDED - one) for one in np.unique(part)]
    write_buckets(pa.concat_tables(tables), np.concatenate(parts), len(plan.parts), work.at("rows.arrow"))
    _write_references(pa.concat_tables(references), plan, work)
    return {}


def locate(work: TaskStore, plan: Plan, files: Sequence[int]) -> Figures:
    """Write where each document lies, by bucket."""
    known = pa.array(plan.sources, pa.string())
    found = [LOCATED.empty_table()]
    for number in files:
        for first, table in _batches(plan.documents[number], ("doc_id", "source", "language")):
            source = pc.index_in(table["source"], value_set=known)
            mined = pc.is_in(source, value_set=pa.array(plan.mined, pa.int32()))
            columns = {
                "doc_id": table["doc_id"],
                "pool": pc.if_else(mined, source, pa.scalar(None, pa.int32())),
                "language": table["language"],
                "file": pa.array(np.full(len(table), number, np.int32)),
                "place": pa.array(np.arange(first, first + len(table))),
            }
            found.append(pa.table([columns[name] for name in LOCATED.names], schema=LOCATED))
    located = pa.concat_tables(found)
    write_buckets(located, bucket_of(located["doc_id"], plan.buckets), plan.buckets, work.at("located.arrow"))
    return {}


def choose(
    work: TaskStore,
    plan: Plan,
    bucket: int,
    located_files: Sequence[str],
    reference_files: Sequence[str],
    task_of_file: Sequence[int],
) -> Figures:
    """Write the documents of each pool that lie in a bucket, by the task that fetches them."""
    documents = read_bucket(located_files, bucket, LOCATED)
    references = read_bucket(reference_files, bucket, REFERENCE)
    row = pc.index_in(references["doc_id"], value_set=documents["doc_id"].combine_chunks())
    if row.null_count:
        return {"missing": row.null_count}
    place, pool = row.to_numpy().astype(np.int64), references["pool"].to_numpy().astype(np.int64)
    own = pc.fill_null(documents["pool"], NEEDED).to_numpy().astype(np.int64)
    every = np.arange(len(documents))
    if plan.config.pool == "all":
        place, pool = np.concatenate([place, every]), np.concatenate([pool, np.zeros(len(every), np.int64)])
    else:
        place, pool = np.concatenate([place, every[own >= 0]]), np.concatenate([pool, own[own >= 0]])
    pairs = np.unique(np.stack([place, pool], axis=1), axis=0)
    order = candidate_order(as_keys(documents["doc_id"])[pairs[:, 0], 1], plan.config.seed)
    taken = documents.take(pa.array(pairs[:, 0]))
    columns = {
        "file": taken["file"],
        "place": taken["place"],
        "pool": pa.array(pairs[:, 1].astype(np.int32)),
        "language": taken["language"],
        "order": pa.array(order),
    }
    chosen = pa.table([columns[name] for name in CHOSEN.names], schema=CHOSEN)
    tasks = np.array(task_of_file, np.int64)
    write_buckets(chosen, tasks[chosen["file"].to_numpy()], int(tasks.max(initial=0)) + 1, work.at("chosen.arrow"))
    return {"missing": 0}


def fetch(
    work: TaskStore,
    plan: Plan,
    files: Sequence[int],
    number: int,
    chosen_files: Sequence[str],
    limits: Sequence[tuple[int, str | None, int]],
) -> Figures:
    """Write the documents that were chosen, with their pools.

    Args:
        work: where to write.
        plan: what every task knows.
        files: numbers of files of documents.
        number: of this task among those that fetch.
        chosen_files: what step `choose` wrote.
        limits: largest order of each capped pool: pool, language (None: all of them), order.
    """
    chosen = read_bucket(chosen_files, number, CHOSEN)
    stays = within_limits(chosen, {(pool, language): limit for pool, language, limit in limits}, plan.config)
    chosen = chosen.filter(pa.array(stays))
    pool = chosen["pool"].to_numpy()
    part_of_pool = np.zeros(1, np.int64) if plan.config.pool == "all" else plan.part_of
    part = np.where(pool > NEEDED, part_of_pool[pool.clip(min=0)], NEEDED - pool)
    order = np.lexsort((pool, part, chosen["place"].to_numpy(), chosen["file"].to_numpy()))
    file, place = (chosen[name].to_numpy()[order] for name in ("file", "place"))
    pool, part = pool[order], part[order]
    tables, parts = [POOLED.empty_table()], [np.empty(0, np.int64)]
    for one in files:
        for first, table in _batches(plan.documents[one], DOCUMENT.names):
            start, stop = np.searchsorted(file, one), np.searchsorted(file, one, side="right")
            start, stop = start + np.searchsorted(place[start:stop], [first, first + len(table)])
            if start == stop:
                continue
            own = np.stack([place[start:stop], part[start:stop]], axis=1)
            distinct, begins = np.unique(own, axis=0, return_index=True)
            held = table.take(pa.array(distinct[:, 0] - first))
            offsets = pa.array(np.append(begins, stop - start).astype(np.int32))
            lists = pa.ListArray.from_arrays(offsets, pa.array(pool[start:stop], pa.int32()))
            tables.append(held.append_column(POOLED.field("pools"), lists).cast(POOLED))
            parts.append(distinct[:, 1])
    write_buckets(pa.concat_tables(tables), np.concatenate(parts), len(plan.parts), work.at("documents.arrow"))
    return {}


def within_limits(chosen: pa.Table, limits: dict[tuple[int, str | None], int], config: MineConfig) -> np.ndarray:
    """Tell which documents are in their pool, or needed, whatever the cap."""
    if not limits:
        return np.ones(len(chosen), bool)
    by_language = config.pool == "language"
    keys = zip(chosen["pool"].to_pylist(), chosen["language"].to_pylist(), strict=True)
    most = [limits.get((pool, language if by_language else None), 2**64 - 1) for pool, language in keys]
    return chosen["order"].to_numpy() <= np.array(most, np.uint64)


def attach(
    work: TaskStore, plan: Plan, output: tuple[int, Sequence[int]], outcomes: Sequence[str], schema: pa.Schema
) -> Figures:
    """Write rows with what was mined for them; rejected ones are left out.

    Args:
        work: where to write.
        plan: what every task knows.
        output: number of the file that is written, and the numbers of those that it is made of, all of one source.
        outcomes: rows that mining did something to, a bucket a file that is written (`outcome_schema`).
        schema: of the rows that are written.
    """
    number, files = output
    done = read_bucket(outcomes, number, outcome_schema(schema))
    found = [schema.empty_table()]
    for _, table in _rows(plan, files, PAIR.names):
        at = done.filter(pc.equal(done["file"], table["file"][0])) if len(table) else done
        row = pc.index_in(table["place"], value_set=at["place"].combine_chunks())
        mine = at.take(row)
        mined = pc.fill_null(mine["mined"], False)
        columns = {name: table[name] for name in PAIR.names}
        columns["negative_ids"] = pc.if_else(mined, mine["negative_ids"], table["negative_ids"])
        columns |= {name: mine[name] for name in schema.names if name not in columns}
        stays = pc.invert(pc.fill_null(mine["rejected"], False))
        found.append(pa.table([columns[name] for name in schema.names], schema=schema).filter(stays))
    kept = pa.concat_tables(found).combine_chunks()
    filesystem, path = open_storage(work.at("pairs.parquet"))
    pq.write_table(kept, path, compression="zstd", filesystem=filesystem)
    return {"rows": len(kept)}


def _rows(plan: Plan, files: Sequence[int], columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """Read training and validation rows, with their source, file and place."""
    for number in files:
        source, uri = plan.pairs[number]
        for first, table in _batches(uri, (*columns, "split") if "split" not in columns else columns):
            table = table.append_column(ROW.field("file"), pa.array(np.full(len(table), number, np.int32)))
            table = table.append_column(ROW.field("place"), pa.array(np.arange(first, first + len(table))))
            yield source, table.filter(pc.is_in(table["split"], value_set=pa.array(SPLITS)))


def _batches(uri: str, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """Read some columns of a Parquet file, some rows at a time, each with the place of its first row."""
    filesystem, path = open_storage(uri)
    first = 0
    with filesystem.open_input_file(path) as stream, pq.ParquetFile(stream) as file:
        for batch in file.iter_batches(_ROWS, columns=list(columns), use_threads=False):
            yield first, pa.Table.from_batches([batch])
            first += len(batch)


def _query_keys(table: pa.Table) -> Keys:
    return as_keys(ids_of(table["query"]))[:, 0]


def _group_keys(table: pa.Table, source: str) -> Keys:
    """Hash the groups of the rows that have one."""
    encoded = table["group"].drop_null().combine_chunks().dictionary_encode()
    hashes = [xxhash.xxh3_64_intdigest(f"{source}\x1f{group}".encode()) for group in encoded.dictionary.to_pylist()]
    return np.array(hashes, np.uint64)[encoded.indices.to_numpy(zero_copy_only=False)]


def _among(keys: Keys, ascending: Keys) -> npt.NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(keys), bool)
    place = np.searchsorted(ascending, keys).clip(max=len(ascending) - 1)
    return ascending[place] == keys


def _references(table: pa.Table, pool: int) -> pa.Table:
    ids = pc.unique(pc.list_flatten(table["positive_ids"]))
    return pa.table([ids, pa.array(np.full(len(ids), pool, np.int32))], schema=REFERENCE)


def _write_references(references: pa.Table, plan: Plan, work: TaskStore) -> None:
    bucket = bucket_of(references["doc_id"], plan.buckets)
    write_buckets(references, bucket, plan.buckets, work.at("references.arrow"))
