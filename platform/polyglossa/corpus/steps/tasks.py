"""The work of one task in each step of the stage; every function is pure but for the files of its own piece of work.

read: a shard → rows by bucket, rejects, texts held out. unique: a bucket → which rows stay. emit: a bucket → pairs,
and documents by bucket. documents: a bucket of documents → each once. Each returns figures, which add up to the account
of rows. `decontaminate` and `near_duplicates` hold the others.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.artifact import write_json
from polyglossa.corpus import statistics
from polyglossa.corpus.clean.annotate import ROW
from polyglossa.corpus.clean.contamination import text_hashes
from polyglossa.corpus.clean.exact import winners
from polyglossa.corpus.clean.ingest import ingest
from polyglossa.corpus.clean.language import UNDETERMINED
from polyglossa.corpus.hashing import SEPARATOR
from polyglossa.corpus.pairs import LOCATED_DOCUMENT, documents_of, pairs_from, query_hashes, unique_documents
from polyglossa.corpus.rejects import drop_rows, reject_table, write_rejects
from polyglossa.corpus.sources.heldout_set import HeldoutSet
from polyglossa.corpus.sources.shards import read_shard
from polyglossa.corpus.sources.source import Shard
from polyglossa.recipe.sections.corpus import CorpusConfig
from polyglossa.scratch.task_store import (  # fmt: skip
    TaskStore,
    bucket_of,
    chunks,
    read_array,
    read_bucket,
    write_array,
    write_buckets,
    write_table,
)

PART_BYTES = 48 * 2**20
_NO_LIMIT = 2**64 - 1
Figures = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What every task knows."""

    config: CorpusConfig
    sources: tuple[str, ...]
    """Names that rows carry, in recipe order."""
    buckets: int
    rows: tuple[str, ...] = ()
    """Row files of all shards (from step unique on)."""
    written: tuple[str, ...] = ()
    """Sources whose documents hold instructions already, likewise."""

    def cap_of(self, source: str) -> int | None:
        """Most queries of a source."""
        own = (entry.max_queries for entry in self.config.sources if entry.name == source)
        return next((cap for cap in own if cap is not None), self.config.max_queries)

    @property
    def thins(self) -> bool:
        """Whether some source may not keep all its queries."""
        return self.config.sampling.keep_share < 1 or any(self.cap_of(source) is not None for source in self.sources)


def read(work: TaskStore, plan: Plan, shard: Shard) -> Figures:
    """Read, normalise and judge the rows of one shard."""
    entry = plan.config.sources[shard.source]
    rejects: list[pa.Table] = []
    secret: list[np.ndarray] = []
    figures: Figures = {
        "source": entry.name,
        "parts": 0,
        "unreadable": 0,
        "rows_in": Counter(),
        "checked": Counter(),
        "written": Counter(),
    }
    notices: dict[str, None] = {}

    def passed() -> Iterable[pa.Table]:
        for reading in read_shard(shard, plan.config):
            if reading.heldout is not None:
                _write_heldout(work, reading.heldout, plan.config)
            done = ingest(reading, entry.name, entry, plan.config)
            figures["unreadable"] += len(reading.bad)
            notices.update(dict.fromkeys(reading.notices))
            for table in (done.rows, done.rejects):
                figures["rows_in"].update(count_values(table["source"]))
            figures["checked"].update(done.checked)
            figures["written"].update(done.written)
            rejects.append(done.rejects)
            secret.append(heldout_hashes(done.rows))
            yield done.rows

    for part, table in enumerate(chunks(passed(), PART_BYTES)):
        write_buckets(table, bucket_of(table["key"], plan.buckets), plan.buckets, work.at(f"rows-{part:05}.arrow"))
        figures["parts"] = part + 1
    write_array(np.unique(np.concatenate([np.zeros(0, np.uint64), *secret])), work.at("secret.npy"))
    figures["notices"] = list(notices)
    return figures | write_rejects(work, pa.concat_tables(rejects) if rejects else reject_table([]))


def _write_heldout(work: TaskStore, heldout: HeldoutSet, config: CorpusConfig) -> None:
    """Write the search that a source holds out, beside its rows."""
    write_table(heldout.queries, work.at("heldout/queries.parquet"))
    write_table(heldout.corpus, work.at("heldout/corpus.parquet"))
    write_json(work.at("heldout/task.json"), heldout.task(config.instructions))


def heldout_hashes(rows: pa.Table) -> np.ndarray:
    """Hashes of the folded texts that no training row may hold: queries and positives of held-out rows.

    Of classification rows the queries only, as labels are shared.
    """
    heldout = rows.filter(pc.fill_null(pc.equal(rows["split"], "heldout"), False))
    answered = heldout.filter(pc.not_equal(heldout["task"], "classification"))
    texts = [*heldout["query"].to_pylist(), *pc.list_flatten(answered["positives"]).to_pylist()]
    return text_hashes(texts)


def unique(work: TaskStore, plan: Plan, bucket: int) -> Figures:
    """Find the exact duplicates of one bucket."""
    rows = read_bucket(plan.rows, bucket, ROW)
    keep, drop, leaders = winners(rows, plan.sources)
    write_array(keep, work.at("keep.npy"))
    winning, losing = (rows["source"].take(pa.array(places)) for places in (leaders, drop))
    between = count_values(pc.binary_join_element_wise(winning, losing, "/"))
    return {"rows": len(keep), "between": between} | reject(work, rows.take(pa.array(drop)), ["duplicate"] * len(drop))


def emit(
    work: TaskStore, plan: Plan, bucket: int, kept: TaskStore, thresholds: Mapping[str, Mapping[str, int]]
) -> Figures:
    """Write the pairs of one bucket, and their documents by bucket.

    Args:
        work: where to write.
        plan: what every task knows.
        bucket: which bucket.
        kept: the bucket's work of step `judge`.
        thresholds: source → language → largest query hash that stays.
    """
    rows = read_bucket(plan.rows, bucket, ROW).take(pa.array(read_array(kept.at("keep.npy"))))
    stays = within_quota(rows, thresholds, plan.config.seed)
    figures = reject(work, rows.filter(pa.array(~stays)), ["over_cap"] * int((~stays).sum()))
    rows = rows.filter(pa.array(stays))
    pairs = pairs_from(rows, plan.config, plan.written)
    described: defaultdict[str, Figures] = defaultdict(dict)
    for source in plan.sources:
        mine = pairs.filter(pc.equal(pairs["source"], source))
        if mine.num_rows:
            write_table(mine, work.at(f"pairs-{source}.parquet"))
            write_table(statistics.samples(rows, source), work.at(f"sample-{source}.parquet"))
            described[source] = _describe(mine)
    write_table(statistics.lengths(rows), work.at("lengths.parquet"))
    write_table(statistics.tokens(rows, plan.config), work.at("tokens.parquet"))
    documents = documents_of(rows, pairs, plan.sources)
    write_buckets(documents, bucket_of(documents["doc_id"], plan.buckets), plan.buckets, work.at("documents.arrow"))
    return {"rows": pairs.num_rows, "sources": dict(described)} | figures


def within_quota(rows: pa.Table, thresholds: Mapping[str, Mapping[str, int]], seed: int) -> np.ndarray:
    """Which rows' queries are within their source's room. Held-out rows always are."""
    if not thresholds:
        return np.ones(rows.num_rows, bool)
    hashes = query_hashes(rows, seed, distinct=False)
    kinds = pc.binary_join_element_wise(hashes["source"], hashes["language"], SEPARATOR).combine_chunks()
    encoded = kinds.dictionary_encode()
    limits = [
        thresholds.get(source, {}).get(language, _NO_LIMIT)
        for source, language in map(_parts, encoded.dictionary.to_pylist())
    ]
    kind = encoded.indices.to_numpy()
    limit = np.array([max(value, 0) for value in limits], np.uint64)[kind]
    has_room = np.array([value >= 0 for value in limits], bool)[kind]
    heldout = pc.fill_null(pc.equal(rows["split"], "heldout"), False).to_numpy()
    return heldout | (has_room & (hashes["hash"].to_numpy() <= limit))


def _parts(kind: str) -> list[str]:
    return kind.split(SEPARATOR)


def _describe(pairs: pa.Table) -> Figures:
    return {
        "task": count_values(pairs["task"]),
        "rows": count_values(pairs["split"]),
        "languages": count_values(pc.fill_null(pairs["language"], UNDETERMINED)),
    }


def count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """Count each value of a column."""
    found = pc.value_counts(column)
    return dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))


def documents(work: TaskStore, plan: Plan, bucket: int, files: Sequence[str]) -> Figures:
    """Write each document of one bucket once: those of training and validation pairs, and those held out."""
    located = read_bucket(files, bucket, LOCATED_DOCUMENT)
    trained, heldout = unique_documents(located)
    write_table(trained, work.at("documents.parquet"))
    write_table(heldout, work.at("heldout.parquet"))
    return {"documents": trained.num_rows, "heldout": heldout.num_rows}


def reject(work: TaskStore, rows: pa.Table, reasons: Sequence[str]) -> Figures:
    """Write rows as rejects."""
    return write_rejects(work, reject_table(drop_rows(rows, reasons)))
