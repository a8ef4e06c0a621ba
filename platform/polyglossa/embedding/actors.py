"""Embed texts into the vector store with any model: on actors, on the driver where little is to do, over HTTP.

What is stored is not embedded again, whoever stored it: mining, evaluation, distillation, or a run that was killed.
A model behind an endpoint is asked by the driver alone, whose client has several requests under way.

    spec = SourceSpec(reference, dtype, device, max_tokens, threads, root)
    embed_missing(distinct(texts), spec, spec.open("cpu"), placement, what="mine: embed")
"""

import posixpath
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import torch

from polyglossa.artifact import open_storage
from polyglossa.embedding.state_sources import StateSource, open_source
from polyglossa.embedding.text_chunks import plan_chunks
from polyglossa.recipe.outside import OutsideModel
from polyglossa.recipe.placement import StagePlacement
from polyglossa.runtime.console import track
from polyglossa.scratch.task_store import read_bucket, write_batches
from polyglossa.vectors import VectorStore

LITTLE_BYTES = 1 << 16  # of text: a second of work
_ASKED_TEXTS = 1024  # of an endpoint between two shards of the store: what a killed run asks again at most

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SourceSpec:
    """A model and how it is run, as plain values: it travels to workers."""

    model: str | OutsideModel
    """Directory, name, or a model from outside."""
    dtype: str
    device: str
    max_tokens: int | None
    threads: int
    root: str
    """Storage root: keeps vectors, and the panels of endpoints."""

    @property
    def asked(self) -> bool:
        """Whether it is behind an endpoint."""
        return isinstance(self.model, OutsideModel) and self.model.endpoint is not None

    def open(self, device: str | None = None) -> StateSource:
        """Open the model; on another device where one is named."""
        return open_source(
            self.model, dtype=self.dtype, device=device or self.device, max_tokens=self.max_tokens, root=self.root
        )


class Embedder:
    """Embeds a chunk and stores its states. One per actor."""

    def __init__(self, spec: SourceSpec, fingerprint: str, source: StateSource | None = None) -> None:
        torch.set_num_threads(spec.threads)
        self._source = source or spec.open()
        self._store = VectorStore(spec.root, fingerprint)

    def __call__(self, chunk: pa.Table) -> tuple[int, int]:
        """Embed one chunk; returns how many texts it had, and how many of their states were refused."""
        states = self._source.embed(chunk.column("text").to_pylist())
        self._source.confirm()
        refused = self._store.append(chunk.column("text_id").to_pylist(), states)
        return len(chunk), int(refused.sum())


def embed_missing(
    wanted: pa.Table, spec: SourceSpec, source: StateSource, placement: StagePlacement, *, what: str
) -> tuple[int, int]:
    """Embed what the store of a source does not hold yet.

    Args:
        wanted: columns `text_id` and `text`, each text once.
        spec: what workers open.
        source: the same model, open on the driver.
        placement: actors, and what each of them may use.
        what: name of the progress bar.

    Returns:
        Texts that were missing, and those of them whose states were refused (not finite, or zero).
    """
    store = VectorStore(spec.root, source.fingerprint)
    held = store.holds(wanted.column("text_id"))
    chunks = plan_chunks(wanted, held, most_texts=_ASKED_TEXTS if spec.asked else None)
    missing, refused = sum(len(chunk) for chunk in chunks), 0
    little = sum(chunk.nbytes for chunk in chunks) <= LITTLE_BYTES and not placement.gpus
    if little or spec.asked:
        done = _here(spec, source, chunks)
    else:
        done = _on_actors(spec, source.fingerprint, chunks, placement)
    with track(what, total=missing, unit="texts") as bar:
        for texts, bad in done:
            bar.advance(texts)
            refused += bad
    return missing, refused


def _here(spec: SourceSpec, source: StateSource, chunks: Sequence[pa.Table]) -> Iterator[tuple[int, int]]:
    """Embed on the driver what would take less time than starting an actor (about 5 s), or waits for an endpoint."""
    if chunks:
        yield from map(Embedder(spec, source.fingerprint, source), chunks)


def _on_actors(
    spec: SourceSpec, fingerprint: str, chunks: Sequence[pa.Table], placement: StagePlacement
) -> Iterator[tuple[int, int]]:
    # Items are blocks already: a read task would wait for a CPU that the pool's actors hold (two-CPU machines).
    numbers = ray.data.from_items([{"chunk": number} for number in range(len(chunks))], override_num_blocks=len(chunks))
    with _chunk_file(VectorStore(spec.root, fingerprint).uri, chunks) as uri:
        done = numbers.map_batches(
            _EmbedChunks,
            fn_constructor_args=(uri, chunks[0].schema, spec, fingerprint),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(placement.workers, len(chunks))),
            **placement.data_options,
        )
        for row in done.iter_rows():
            yield row["texts"], row["refused"]


@contextmanager
def _chunk_file(folder: str, chunks: Sequence[pa.Table]) -> Iterator[str]:
    """Keep chunks in a file beside the store while they are embedded: the object store never holds them all."""
    uri = posixpath.join(folder, "wanted", f"{uuid.uuid4().hex}.arrow")
    filesystem, path = open_storage(uri)
    filesystem.create_dir(posixpath.dirname(path), recursive=True)
    try:
        write_batches((chunk.combine_chunks().to_batches()[0] for chunk in chunks), chunks[0].schema, uri)
        yield uri
    finally:
        filesystem.delete_file(path)


class _EmbedChunks:
    """An actor of the pool: reads the chunks of the numbers that it is handed."""

    def __init__(self, uri: str, schema: pa.Schema, spec: SourceSpec, fingerprint: str) -> None:
        self._uri, self._schema = uri, schema
        self._embedder = Embedder(spec, fingerprint)

    def __call__(self, batch: dict[str, Ints]) -> dict[str, Ints]:
        chunks = (read_bucket([self._uri], number, self._schema) for number in batch["chunk"].tolist())
        done = [self._embedder(chunk) for chunk in chunks]
        return {"texts": np.array([texts for texts, _ in done]), "refused": np.array([refused for _, refused in done])}
