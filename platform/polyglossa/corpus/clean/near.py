"""Near-duplicates: MinHash signatures, bands, and connected components over shards.

A row is two texts, its query and its positives; near-duplicates are alike in both, so many queries of one passage stay.
A band is some MinHash values of the query and as many of the positives: rows with similarities q and p agree in one of
b bands of r rows with probability 1 − (1 − (q·p)^(r/2))^b (0.99 at 0.85, b = 16, r = 8). Candidates are then verified
on sketches of 4 bits per MinHash value (standard error 0.03 at 128 values).

Components (scipy's breadth-first search over a sparse graph) run in one process over verified edges: 16 bytes per edge
as read, 25 more while the graph is built; 60 M rows of which a tenth have a near-duplicate are about 0.3 GiB.
"""

import math
from collections.abc import Sequence

import numpy as np
import rensa  # type: ignore[import-untyped]  # ships no types
from scipy.sparse import coo_array  # type: ignore[import-untyped]  # ships no types
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]  # ships no types

from polyglossa.corpus.clean.text import fold
from polyglossa.recipe.sections.corpus import NearDuplicatesConfig

SHINGLE = 5
"""Characters of a shingle; texts that are shorter are one shingle."""
_ALL_PAIRS = 8
"""Rows that agree in a band are all compared up to so many; beyond, each with the first and with the next."""


def signatures(texts: Sequence[str], config: NearDuplicatesConfig) -> np.ndarray:
    """Return MinHash values [texts, permutations] (uint32) of the texts' character shingles."""
    hashes, offsets = _shingles([fold(text) for text in texts])
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, config.permutations, config.seed)
    return np.array(matrix.to_rows(), np.uint32).reshape(len(texts), config.permutations)


def _shingles(folded: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all shingles, text by text, and where each text's begin (and end)."""
    padded = [text + "\x00" * max(0, SHINGLE - len(text)) for text in folded]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    counts = np.array([len(text) - SHINGLE + 1 for text in padded], np.int64)
    starts = np.cumsum([0, *(len(text) for text in padded)])[:-1]
    place = np.repeat(starts, counts) + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    value = np.zeros(len(place), np.uint64)
    with np.errstate(over="ignore"):
        for step in range(SHINGLE):
            value = (value ^ codes[place + step]) * np.uint64(0x100000001B3)
            value ^= value >> np.uint64(29)
    return value, np.concatenate([[0], np.cumsum(counts)])


def band_hashes(query: np.ndarray, positive: np.ndarray, config: NearDuplicatesConfig) -> np.ndarray:
    """Return one hash per row and band [rows, bands] (uint64) of half query values and half positive values."""
    half = config.rows // 2
    bands = np.zeros((len(query), config.bands), np.uint64)
    with np.errstate(over="ignore"):
        for band in range(config.bands):
            value = np.full(len(query), band + 1, np.uint64)
            for step in range(half):
                column = (band * half + step) % config.permutations
                for side in (query, positive):
                    value = (value ^ side[:, column].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
                    value ^= value >> np.uint64(32)
            bands[:, band] = value
    return bands


def sketches(values: np.ndarray) -> np.ndarray:
    """Keep the lowest 4 bits of each MinHash value: [rows, permutations / 2] bytes."""
    low = (values & np.uint32(15)).astype(np.uint8)
    return low[:, 0::2] << 4 | low[:, 1::2]


def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Estimate Jaccard similarities from sketches, row by row: agreement is s + (1 − s)/16."""
    differing = one ^ other
    agree = ((differing >> 4) == 0).astype(np.float32) + ((differing & 15) == 0)
    share = agree.sum(axis=1) / (2 * one.shape[1])
    return (share - 1 / 16) / (1 - 1 / 16)


def candidate_edges(bands: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Return distinct edges [edges, 2] between nodes that have the same band hash, the smaller node first.

    Args:
        bands: band hashes, any order.
        nodes: the node of each.
    """
    order = np.lexsort((nodes, bands))
    bands, nodes = bands[order], nodes[order]
    start = np.flatnonzero(np.concatenate([[True], bands[1:] != bands[:-1]])) if len(bands) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(start, len(bands)))
    leader = np.repeat(start, sizes)
    place = np.arange(len(bands))
    edges = [np.stack([nodes[leader], nodes], axis=1)]
    for step in range(1, _ALL_PAIRS):
        near = place[step:][
            (leader[step:] == leader[:-step]) & ((np.repeat(sizes, sizes)[step:] <= _ALL_PAIRS) | (step == 1))
        ]
        edges.append(np.stack([nodes[near - step], nodes[near]], axis=1))
    joined = np.concatenate(edges)
    return np.unique(joined[joined[:, 0] != joined[:, 1]], axis=0)


def least_estimate(config: NearDuplicatesConfig) -> float:
    """Estimated similarity from which rows count as alike: 99 in 100 texts of the wanted similarity are above."""
    return config.similarity - 2.3 * math.sqrt(config.similarity * (1 - config.similarity) / config.permutations)


def verify_edges(edges: np.ndarray, query: np.ndarray, positive: np.ndarray, least: float) -> np.ndarray:
    """Which edges join rows that are alike in both texts.

    Args:
        edges: places of rows [edges, 2].
        query: query sketches by place.
        positive: positive sketches by place.
        least: smallest estimated similarity.
    """
    left, right = edges[:, 0], edges[:, 1]
    return (similarity(query[left], query[right]) >= least) & (similarity(positive[left], positive[right]) >= least)


def not_first(edges: np.ndarray, rows: int) -> np.ndarray:
    """Return the places that are not the first of their component, sorted.

    Args:
        edges: places of rows [edges, 2].
        rows: how many places there are; those without an edge are components of their own.
    """
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(rows, rows))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    return np.setdiff1d(np.arange(rows), first)
