"""Embed texts into the vector store, each rendered text once: the plan of the work, and the worker that does it.

The plan depends on the texts alone, never on how many workers there are: a run that was killed finds exactly its
unfinished chunks again, embeds them in the same batches, and ends with the same vectors.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from polyglossa.model.encoder import Encoder
from polyglossa.records import text_id
from polyglossa.vectors import Flags, Floats, VectorStore, as_keys

CHUNK_BYTES = 1 << 18  # UTF-8; 60 to 90 thousand tokens, a few seconds of one core for a small model
CHUNK_TEXTS = 4096
_SHORTEST_CLASS = 5


class StateEncoder(Protocol):
    """Any model that gives a raw state per rendered text."""

    fingerprint: str
    width: int
    prompts: dict[str, str]

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return raw states [N, width] of rendered texts, in their order."""
        ...


class FamilyEncoder:
    """Polyglossa's own encoder as a `StateEncoder`."""

    def __init__(self, encoder: Encoder, chunk_tokens: int) -> None:
        self.fingerprint, self.width, self.prompts = encoder.fingerprint, encoder.width, encoder.prompts
        self._encoder, self._chunk_tokens = encoder, chunk_tokens

    def embed(self, texts: Sequence[str]) -> Floats:
        """See `StateEncoder`."""
        return self._encoder.states(self._encoder.tokenize(texts), chunk_tokens=self._chunk_tokens).numpy()


def open_encoder(path: str, *, dtype: str, device: str, max_tokens: int | None) -> StateEncoder:
    """Load a model by name or from a directory.

    Args:
        path: a model directory of the family, or a Hugging Face name or directory.
        dtype: precision of the computation.
        device: torch device.
        max_tokens: longest text; None takes the model's own limit.
    """
    encoder = Encoder.load(path, dtype=dtype, device=device, max_tokens=max_tokens)
    return FamilyEncoder(encoder, chunk_tokens=2048 if device == "cpu" else 32_768)


def distinct(texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    """List every distinct text once with its id, as columns `text_id` and `text`."""
    unique = pc.unique(texts)
    return pa.table({"text_id": ids_of(unique), "text": unique})


def ids_of(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Hash rendered texts to their 16-byte ids."""
    return pa.array([text_id(text) for text in texts.to_pylist()], pa.binary(16))


def plan_chunks(texts: pa.Table, held: Flags) -> list[pa.Table]:
    """Cut the texts that are not stored yet into chunks, longest first.

    Texts of like length share a chunk: within a class of lengths (powers of two) all chunks but the last hold the same
    number of texts, so that what is left after some chunks were done is cut just as before.

    Args:
        texts: columns `text_id` and `text`.
        held: which of them are stored.
    """
    texts = texts.filter(pa.array(~held))
    size = pc.binary_length(texts.column("text").cast(pa.binary())).to_numpy()
    level = np.maximum(np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64), _SHORTEST_CLASS)
    keys = as_keys(texts.column("text_id"))
    order = np.lexsort((keys[:, 1], keys[:, 0], -size))
    chunks = []
    for longest in sorted(set(level.tolist()), reverse=True):
        member = order[level[order] == longest]
        count = min(max(CHUNK_BYTES >> longest, 1), CHUNK_TEXTS)
        chunks += [texts.take(member[start : start + count]) for start in range(0, len(member), count)]
    return chunks


class Embedder:
    """The worker: embeds a chunk and stores its states. One per actor."""

    def __init__(
        self, path: str, dtype: str, device: str, max_tokens: int | None, threads: int, root: str, fingerprint: str
    ) -> None:
        torch.set_num_threads(threads)
        self._encoder = open_encoder(path, dtype=dtype, device=device, max_tokens=max_tokens)
        self._store = VectorStore(root, fingerprint)

    def __call__(self, chunk: pa.Table) -> pa.Table:
        """Embed one chunk; returns one row: texts embedded and rows refused."""
        states = self._encoder.embed(chunk.column("text").to_pylist())
        refused = self._store.append(chunk.column("text_id").to_pylist(), states)
        return pa.table({"texts": [len(chunk)], "refused": [int(refused.sum())]})
