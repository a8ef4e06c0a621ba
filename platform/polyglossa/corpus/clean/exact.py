"""Exact duplicates: of rows with one key the first source in recipe order keeps it, and held-out rows come before all.

Rows of one source with one key may still differ in what they carry (negatives, label); the one whose content has the
smallest hash is kept, so the order in which files were read does not matter.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.corpus.hashing import SEPARATOR, as_one_array, halves, mix, text_hashes

_ABSENT = "\x00"


def winners(rows: pa.Table, sources: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose the row that stays for each key.

    Args:
        rows: rows of one bucket, so that equal keys are all here.
        sources: names of the sources in recipe order.

    Returns:
        Places of the rows that stay, places of the duplicates (both sorted by key), and for each duplicate the place
        of the row that stays for it.
    """
    first, second = halves(rows["key"].combine_chunks())
    source = pc.index_in(rows["source"], pa.array(sources, pa.string())).to_numpy().astype(np.int64)
    trained = pc.fill_null(pc.not_equal(rows["split"], "heldout"), True).to_numpy(zero_copy_only=False)
    rank = source + len(sources) * trained
    order = np.lexsort((rank, second, first))
    same_key = (first[order][1:] == first[order][:-1]) & (second[order][1:] == second[order][:-1])
    tied = np.concatenate([[False], same_key & (rank[order][1:] == rank[order][:-1])])
    if tied.any():
        order = _break_ties(rows, order, tied, rank, first, second)
    repeated = np.concatenate([[False], same_key]) if len(order) else np.zeros(0, bool)
    leader = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(order)))) if len(order) else order
    return order[~repeated], order[repeated], order[leader[repeated]]


def _break_ties(
    rows: pa.Table, order: np.ndarray, tied: np.ndarray, rank: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Sort rows of equal key and rank by the hash of their content; other rows need none."""
    involved = tied | np.concatenate([tied[1:], [False]])
    content = np.zeros(len(order), np.uint64)
    content[order[involved]] = content_hashes(rows.take(pa.array(order[involved])))
    return np.lexsort((content, rank, second, first))


def content_hashes(rows: pa.Table) -> np.ndarray:
    """Hash what rows of one key and source may still differ in."""
    total = np.zeros(rows.num_rows, np.uint64)
    for column in rows.drop_columns(["key", "source", "query", "positives"]).columns:
        texts = (
            pc.binary_join(as_one_array(column), SEPARATOR) if pa.types.is_list(column.type) else as_one_array(column)
        )
        encoded = pc.fill_null(texts.cast(pa.string()), _ABSENT).dictionary_encode()
        total = mix(total ^ text_hashes(encoded.dictionary)[encoded.indices.to_numpy()])
    return total
