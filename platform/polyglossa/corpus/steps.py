"""The work of one task in each step of the stage; every function is pure but for the files of its own piece of work.

read: a shard → rows by bucket, rejects, texts held out. unique: a bucket → which rows stay. judge: a bucket → which of
those are neither near-duplicates nor contaminated. emit: a bucket → pairs, and documents by bucket. documents: a bucket
of documents → each once. Each returns figures, which add up to the account of rows.
"""

import functools
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.artifact import write_json
from polyglossa.corpus.contamination import Contamination, EvaluationIndex, build_index, text_hashes
from polyglossa.corpus.embedded import read_embedded
from polyglossa.corpus.evaluation_texts import texts_of
from polyglossa.corpus.exact import winners
from polyglossa.corpus.files import File
from polyglossa.corpus.ingest import ROW, ingest, reject_table, shown_rows
from polyglossa.corpus.pairs import LOCATED_DOCUMENT, documents_of, pairs_from, query_hashes, unique_documents
from polyglossa.corpus.scratch import (
    Work,
    bucket_of,
    chunks,
    read_array,
    read_bucket,
    write_array,
    write_buckets,
    write_table,
)  # fmt: skip
from polyglossa.corpus.shards import Reading, Shard, read_shard
from polyglossa.recipe.corpus import CorpusConfig, DecontaminationConfig, EvaluationSet
from polyglossa.recipe.sources import CldrSource, PydocSource, ReadSource

PART_BYTES = 64 * 2**20
_INDEX_ARRAYS = ("texts", "blocks", "spaceless_blocks")
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

    def cap_of(self, source: str) -> int | None:
        """Most queries of a source."""
        own = (e.max_queries for e in self.config.sources if isinstance(e, ReadSource) and e.name == source)
        return next((cap for cap in own if cap is not None), self.config.max_queries)

    @property
    def thins(self) -> bool:
        """Whether some source may not keep all its queries."""
        return self.config.sampling.keep_share < 1 or any(self.cap_of(source) is not None for source in self.sources)


def read(work: Work, plan: Plan, shard: Shard) -> Figures:
    """Read, normalise and judge the rows of one shard."""
    entry = plan.config.sources[shard.source]
    rejects: list[pa.Table] = []
    secret: list[np.ndarray] = []
    figures: Figures = {"source": entry.name, "parts": 0, "unreadable": 0, "rows_in": Counter(), "checked": Counter()}

    def passed() -> Iterable[pa.Table]:
        for reading in _readings(work, plan.config, shard):
            done = ingest(reading, entry.name, entry, plan.config)
            figures["unreadable"] += len(reading.bad)
            figures["rows_in"].update(done.rows["source"].to_pylist() + done.rejects["source"].to_pylist())
            figures["checked"].update(done.checked)
            rejects.append(done.rejects)
            secret.append(heldout_hashes(done.rows))
            yield done.rows

    for part, table in enumerate(chunks(passed(), PART_BYTES)):
        write_buckets(table, bucket_of(table["key"], plan.buckets), plan.buckets, work.at(f"rows-{part:05}.arrow"))
        figures["parts"] = part + 1
    write_array(np.unique(np.concatenate([np.zeros(0, np.uint64), *secret])), work.at("secret.npy"))
    return figures | _write_rejects(work, pa.concat_tables(rejects) if rejects else reject_table([]))


def _readings(work: Work, config: CorpusConfig, shard: Shard) -> Iterable[Reading]:
    """What the shard holds; the held-out set of an embedded source is written beside its rows."""
    entry = config.sources[shard.source]
    if not isinstance(entry, CldrSource | PydocSource):
        return read_shard(shard, config)
    embedded = read_embedded(entry, config)
    for heldout in embedded.heldout:
        write_table(heldout.queries, work.at("heldout/queries.parquet"))
        write_table(heldout.corpus, work.at("heldout/corpus.parquet"))
        write_json(work.at("heldout/task.json"), heldout.task(config.instructions))
    return [Reading(table, ()) for table in embedded.candidates]


def heldout_hashes(rows: pa.Table) -> np.ndarray:
    """Hashes of the folded texts that no training row may hold: queries and positives of held-out rows.

    Of classification rows the queries only, as labels are shared.
    """
    heldout = rows.filter(pc.fill_null(pc.equal(rows["split"], "heldout"), False))
    answered = heldout.filter(pc.not_equal(heldout["task"], "classification"))
    texts = [*heldout["query"].to_pylist(), *pc.list_flatten(answered["positives"]).to_pylist()]
    return text_hashes(texts)


def unique(work: Work, plan: Plan, bucket: int) -> Figures:
    """Find the exact duplicates of one bucket."""
    rows = read_bucket(plan.rows, bucket, ROW)
    keep, drop, leaders = winners(rows, plan.sources)
    write_array(keep, work.at("keep.npy"))
    winning, losing = (rows["source"].take(pa.array(places)).to_pylist() for places in (leaders, drop))
    between = Counter(f"{winner}/{loser}" for winner, loser in zip(winning, losing, strict=True))
    return {"rows": len(keep), "between": dict(between)} | _reject(work, rows.take(pa.array(drop)), "duplicate")


def index(work: Work, plan: Plan, item: tuple[EvaluationSet, Sequence[File]]) -> Figures:
    """Index the texts of one evaluation set."""
    evaluation, files = item
    settings = plan.config.decontamination
    texts = texts_of(evaluation, files)
    built = build_index(evaluation.name, texts, settings.block_characters, settings.spaceless_block_characters)
    for name in _INDEX_ARRAYS:
        write_array(getattr(built, name), work.at(f"{name}.npy"))
    return {
        "name": evaluation.name,
        "texts": len(built.texts),
        "blocks": len(built.blocks) + len(built.spaceless_blocks),
    }


@dataclass(frozen=True)
class KeptOut:
    """Where the arrays lie that tell what must not be trained on."""

    secret: tuple[str, ...]
    """Files of hashes of the corpus's own held-out texts."""
    sets: tuple[tuple[str, str], ...]
    """Name and folder of each evaluation set's index."""


@functools.lru_cache(maxsize=1)
def _load(kept_out: KeptOut, settings: DecontaminationConfig) -> Contamination:
    """Read the arrays, once per worker process."""
    secret = np.unique(np.concatenate([np.zeros(0, np.uint64), *(read_array(uri) for uri in kept_out.secret)]))
    indexes = [
        EvaluationIndex(name, *(read_array(posixpath.join(folder, f"{array}.npy")) for array in _INDEX_ARRAYS))
        for name, folder in kept_out.sets
    ]
    return Contamination(secret, indexes, settings.block_characters, settings.spaceless_block_characters)


def judge(work: Work, plan: Plan, bucket: int, kept: Work, near: str | None, kept_out: KeptOut) -> Figures:
    """Drop near-duplicates, held-out texts and contaminated rows of one bucket; list the queries that remain.

    Args:
        work: where to write.
        plan: what every task knows.
        bucket: which bucket.
        kept: the bucket's work of step `unique`.
        near: array of the places, in `kept`, of near-duplicates to drop, or None.
        kept_out: what must not be trained on.
    """
    places = read_array(kept.at("keep.npy"))
    rows = read_bucket(plan.rows, bucket, ROW).take(pa.array(places))
    reasons = np.full(len(places), None, dtype=object)
    if near is not None:
        reasons[read_array(near)] = "near_duplicate"
    found = _load(kept_out, plan.config.decontamination).judge(rows, reasons)
    stays = np.array([reason is None for reason in reasons], bool)
    write_array(places[stays], work.at("keep.npy"))
    if plan.thins:
        write_table(query_hashes(rows.filter(pa.array(stays)), plan.config.seed), work.at("queries.parquet"))
    lost = rows.filter(pa.array(~stays))
    return {"rows": int(stays.sum()), "contaminated": found} | _reject(work, lost, reasons[~stays].tolist())


def emit(work: Work, plan: Plan, bucket: int, kept: Work, thresholds: Mapping[str, Mapping[str, int]]) -> Figures:
    """Write the pairs of one bucket, and their documents by bucket.

    Args:
        work: where to write.
        plan: what every task knows.
        bucket: which bucket.
        kept: the bucket's work of step `judge`.
        thresholds: source → language → largest query hash that stays.
    """
    rows = read_bucket(plan.rows, bucket, ROW).take(pa.array(read_array(kept.at("keep.npy"))))
    stays = within(rows, thresholds, plan.config.seed)
    figures = _reject(work, rows.filter(pa.array(~stays)), "over_cap")
    rows = rows.filter(pa.array(stays))
    pairs = pairs_from(rows, plan.config)
    described: defaultdict[str, Figures] = defaultdict(dict)
    for source in plan.sources:
        mine = pairs.filter(pc.equal(pairs["source"], source))
        if mine.num_rows:
            write_table(mine, work.at(f"pairs-{source}.parquet"))
            described[source] = _describe(mine)
    documents = documents_of(rows, pairs, plan.sources)
    write_buckets(documents, bucket_of(documents["doc_id"], plan.buckets), plan.buckets, work.at("documents.arrow"))
    return {"rows": pairs.num_rows, "sources": dict(described)} | figures


def within(rows: pa.Table, thresholds: Mapping[str, Mapping[str, int]], seed: int) -> np.ndarray:
    """Which rows' queries are within their source's room. Held-out rows always are."""
    if not thresholds:
        return np.ones(rows.num_rows, bool)
    hashes = query_hashes(rows, seed, distinct=False)
    limits = [
        2**64 - 1
        if source not in thresholds or split == "heldout"
        else thresholds[source].get(language or "", 2**64 - 1)
        for source, language, split in zip(
            hashes["source"].to_pylist(), hashes["language"].to_pylist(), rows["split"].to_pylist(), strict=True
        )
    ]
    return np.array([value <= limit for value, limit in zip(hashes["hash"].to_pylist(), limits, strict=True)], bool)


def _describe(pairs: pa.Table) -> Figures:
    return {
        "task": dict(Counter(pairs["task"].to_pylist())),
        "rows": dict(Counter(pairs["split"].to_pylist())),
        "languages": dict(Counter(language or "und" for language in pairs["language"].to_pylist())),
    }


def documents(work: Work, plan: Plan, bucket: int, files: Sequence[str]) -> Figures:
    """Write each document of one bucket once: those of training and validation pairs, and those held out."""
    located = read_bucket(files, bucket, LOCATED_DOCUMENT)
    trained, heldout = unique_documents(located)
    write_table(trained, work.at("documents.parquet"))
    write_table(heldout, work.at("heldout.parquet"))
    return {"documents": trained.num_rows, "heldout": heldout.num_rows}


def _reject(work: Work, rows: pa.Table, reason: str | Sequence[str]) -> Figures:
    reasons = [reason] * rows.num_rows if isinstance(reason, str) else reason
    sources = rows["source"].to_pylist()
    shown = shown_rows(rows)
    return _write_rejects(
        work, reject_table((s, "corpus", why, row) for s, why, row in zip(sources, reasons, shown, strict=True))
    )


def _write_rejects(work: Work, rejects: pa.Table) -> Figures:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for source, reason in zip(rejects["source"].to_pylist(), rejects["reason"].to_pylist(), strict=True):
        counts[source][reason] += 1
    if rejects.num_rows:
        write_table(rejects, work.at("rejects.parquet"))
    return {"rejects": {source: dict(reasons) for source, reasons in counts.items()}}
