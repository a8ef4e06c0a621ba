"""The steps that find near-duplicates: sketch (a bucket of rows), edges (a bucket of bands), components (once)."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.clean.annotate import ROW
from polyglossa.corpus.clean.near import (
    band_hashes,
    candidate_edges,
    least_estimate,
    not_first,
    signatures,
    sketches,
    verify_edges,
)
from polyglossa.corpus.steps.tasks import Figures, Plan
from polyglossa.recipe.sections.corpus import NearDuplicatesConfig
from polyglossa.scratch.task_store import TaskStore, read_array, read_bucket, write_array, write_buckets

BAND = pa.schema([pa.field("band", pa.uint64(), nullable=False), pa.field("node", pa.uint64(), nullable=False)])
_PLACE_BITS = np.uint64(40)
"""A node is a bucket (above) and a place in it (below)."""
_ROWS = 4096
_READ_EDGES = 2**20


def _settings(plan: Plan) -> NearDuplicatesConfig:
    assert plan.config.near_duplicates is not None
    return plan.config.near_duplicates


def sketch(work: TaskStore, plan: Plan, bucket: int, kept: TaskStore) -> Figures:
    """Write bands, sketches and ranks of the rows of one bucket that exact deduplication left."""
    config = _settings(plan)
    rows = read_bucket(plan.rows, bucket, ROW).take(pa.array(read_array(kept.at("keep.npy"))))
    query: list[np.ndarray] = []
    positive: list[np.ndarray] = []
    bands: list[np.ndarray] = []
    for start in range(0, rows.num_rows, _ROWS):
        part = rows.slice(start, _ROWS)
        one = signatures(part["query"].to_pylist(), config)
        other = signatures(["\n".join(texts) for texts in part["positives"].to_pylist()], config)
        query.append(sketches(one))
        positive.append(sketches(other))
        bands.append(band_hashes(one, other, config).ravel())
    width = config.permutations // 2
    write_array(np.concatenate([np.zeros((0, width), np.uint8), *query]), work.at("query.npy"))
    write_array(np.concatenate([np.zeros((0, width), np.uint8), *positive]), work.at("positive.npy"))
    write_array(_ranks(rows, plan), work.at("rank.npy"))
    node = np.repeat(np.arange(rows.num_rows, dtype=np.uint64), config.bands) | (np.uint64(bucket) << _PLACE_BITS)
    joined = np.concatenate([np.zeros(0, np.uint64), *bands])
    table = pa.table([joined, node], schema=BAND)
    write_buckets(
        table, (joined >> np.uint64(20)).astype(np.int64) % plan.buckets, plan.buckets, work.at("bands.arrow")
    )
    return {"rows": rows.num_rows}


def _ranks(rows: pa.Table, plan: Plan) -> np.ndarray:
    """Held-out rows first, then sources in recipe order."""
    source = pc.index_in(rows["source"], pa.array(plan.sources, pa.string())).to_numpy().astype(np.int64)
    trained = pc.fill_null(pc.not_equal(rows["split"], "heldout"), True).to_numpy(zero_copy_only=False)
    return source + len(plan.sources) * trained.astype(np.int64)


def edges(work: TaskStore, plan: Plan, bucket: int, files: Sequence[str]) -> Figures:
    """Write the candidate edges of one bucket of bands."""
    table = read_bucket(files, bucket, BAND)
    found = candidate_edges(table["band"].to_numpy(), table["node"].to_numpy())
    write_array(found, work.at("edges.npy"))
    return {"edges": len(found)}


def components(
    work: TaskStore, plan: Plan, _item: int, sketched: Sequence[TaskStore], edge_files: Sequence[str]
) -> Figures:
    """Verify all edges, find components, and write for each bucket the places of the rows to drop.

    Sketches of rows without a candidate are read a bucket at a time and not kept.
    """
    parts = [read_array(uri) for uri in edge_files]
    candidates = np.unique(np.concatenate([np.zeros((0, 2), np.uint64), *parts]), axis=0)
    nodes = np.unique(candidates)
    bucket, place = (nodes >> _PLACE_BITS).astype(np.int64), (nodes & (2**40 - 1)).astype(np.int64)
    loaded = [
        [read_array(done.at(name))[place[bucket == number]] for number, done in enumerate(sketched)]
        for name in ("query.npy", "positive.npy", "rank.npy")
    ]
    query, positive, rank = (np.concatenate(arrays) for arrays in loaded)
    ends = np.searchsorted(nodes, candidates)
    least = least_estimate(_settings(plan))
    checked = [
        verify_edges(ends[start : start + _READ_EDGES], query, positive, least)
        for start in range(0, len(ends), _READ_EDGES)
    ]
    true = ends[np.concatenate([np.zeros(0, bool), *checked])]
    order = np.lexsort((nodes, rank))
    drop = order[not_first(np.argsort(order)[true], len(nodes))] if len(nodes) else np.zeros(0, np.int64)
    for number in range(len(sketched)):
        write_array(np.sort(place[drop][bucket[drop] == number]), work.at(f"drop-{number:05}.npy"))
    return {"candidates": len(candidates), "edges": len(true), "dropped": len(drop)}
