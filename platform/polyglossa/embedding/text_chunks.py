"""Texts to embed, each rendered text once, in chunks of like length. Pure.

The plan depends on the texts alone, never on how many workers there are: a run that was killed finds exactly its
unfinished chunks again, embeds them in the same batches, and ends with the same vectors.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from polyglossa.records import text_id
from polyglossa.vectors import Flags, as_keys

CHUNK_BYTES = 1 << 18  # UTF-8; 60 to 90 thousand tokens, a few seconds of one core for a small model
CHUNK_TEXTS = 4096
_SHORTEST_CLASS = 5


def distinct(texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    """List every distinct text once with its id, as columns `text_id` and `text`."""
    unique = pc.unique(texts)
    return pa.table({"text_id": ids_of(unique), "text": unique})


def ids_of(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Hash rendered texts to their 16-byte ids."""
    return pa.array([text_id(text) for text in texts.to_pylist()], pa.binary(16))


def plan_chunks(texts: pa.Table, held: Flags, *, most_texts: int | None = None) -> list[pa.Table]:
    """Cut the texts that are not stored yet into chunks, longest first.

    Texts of like length share a chunk: within a class of lengths (powers of two) all chunks but the last hold the same
    number of texts, so that what is left after some chunks were done is cut just as before.

    Args:
        texts: columns `text_id` and `text`.
        held: which of them are stored.
        most_texts: most texts of a chunk; None takes `CHUNK_TEXTS`.
    """
    texts = texts.filter(pa.array(~held))
    size = pc.binary_length(texts.column("text").cast(pa.binary())).to_numpy()
    level = np.maximum(np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64), _SHORTEST_CLASS)
    keys = as_keys(texts.column("text_id"))
    order = np.lexsort((keys[:, 1], keys[:, 0], -size))
    chunks = []
    for longest in sorted(set(level.tolist()), reverse=True):
        member = order[level[order] == longest]
        count = min(max(CHUNK_BYTES >> longest, 1), most_texts or CHUNK_TEXTS)
        chunks += [texts.take(member[start : start + count]) for start in range(0, len(member), count)]
    return chunks
