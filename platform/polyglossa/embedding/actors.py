"""Embed texts into the vector store with any model: on actors, in one task where little is to do, over HTTP.

What is stored is not embedded again, whoever stored it: mining, evaluation, distillation, or a run that was killed; of
several runs that miss texts of one model, one embeds at a time. The driver never holds a model: what it has to know of
one is told by a task. A model behind an endpoint is asked by the driver, whose client has several requests under way.
Torch is loaded by who computes.

    spec = SourceSpec(reference, dtype, device, max_tokens, threads, root)
    facts = source_facts(spec, placement)
    embed_missing(distinct(texts), spec, facts, placement, what="mine: embed")
"""

import posixpath
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from polyglossa.artifact import open_storage
from polyglossa.embedding.text_chunks import plan_chunks
from polyglossa.lease import held
from polyglossa.recipe.outside import OutsideModel
from polyglossa.recipe.placement import StagePlacement
from polyglossa.runtime.console import say_once, track
from polyglossa.runtime.ray_tasks import results
from polyglossa.scratch.task_store import read_bucket, write_batches
from polyglossa.vectors import VectorStore

if TYPE_CHECKING:
    from polyglossa.embedding.state_sources import StateSource

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

    def open(self, device: str | None = None) -> "StateSource":
        """Open the model; on another device where one is named."""
        from polyglossa.embedding.state_sources import open_source

        return open_source(
            self.model, dtype=self.dtype, device=device or self.device, max_tokens=self.max_tokens, root=self.root
        )


@dataclass(frozen=True)
class SourceFacts:
    """What a driver has to know of a model."""

    fingerprint: str
    prompts: dict[str, str]
    width: int
    asked: "StateSource | None" = None
    """The client of an endpoint, which the driver itself asks."""


def source_facts(spec: SourceSpec, placement: StagePlacement, *, parity: str | None = None) -> SourceFacts:
    """Open a model in a task of the stage, where its memory is, and tell what the driver has to know.

    Args:
        spec: the model.
        placement: what the task takes; no GPU.
        parity: name or directory that is held to sentence-transformers first; None holds nothing to it.

    Raises:
        DataError: the model cannot be used.
    """
    if spec.asked:
        client = spec.open()
        return SourceFacts(client.fingerprint, client.prompts, client.width, client)
    task = ray.remote(_open_and_tell).options(**{**placement.ray_options, "num_gpus": 0})
    facts: SourceFacts = results([task.remote(spec, parity)])[0]
    return facts


def _open_and_tell(spec: SourceSpec, parity: str | None) -> SourceFacts:
    import torch

    from polyglossa.embedding.parity import check_parity

    torch.set_num_threads(spec.threads)
    if parity is not None:
        check_parity(parity, root=spec.root)
    source = spec.open("cpu")
    return SourceFacts(source.fingerprint, source.prompts, source.width)


class Embedder:
    """Embeds a chunk and stores its states. One per actor."""

    def __init__(self, spec: SourceSpec, fingerprint: str, source: "StateSource | None" = None) -> None:
        import torch

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
    wanted: pa.Table, spec: SourceSpec, facts: SourceFacts, placement: StagePlacement, *, what: str
) -> tuple[int, int]:
    """Embed what the store of a source does not hold yet.

    Args:
        wanted: columns `text_id` and `text`, each text once.
        spec: what workers open.
        facts: what is known of the model.
        placement: actors, and what each of them may use.
        what: name of the progress bar.

    Returns:
        Texts that were missing, and those of them whose states were refused (not finite, or zero).
    """
    store = VectorStore(spec.root, facts.fingerprint)
    if store.holds(wanted.column("text_id")).all():
        return 0, 0
    with held(spec.root, f"vectors-{facts.fingerprint}", waiting=_tell_waiting):
        store.refresh()
        there = store.holds(wanted.column("text_id"))
        chunks = plan_chunks(wanted, there, most_texts=_ASKED_TEXTS if spec.asked else None)
        missing, refused = sum(len(chunk) for chunk in chunks), 0
        with track(what, total=missing, unit="texts") as bar:
            for texts, bad in _embed(spec, facts, chunks, placement):
                bar.advance(texts)
                refused += bad
    return missing, refused


def _tell_waiting(holder: str) -> None:
    say_once(f"  waiting for vectors that {holder} is storing")


def _embed(
    spec: SourceSpec, facts: SourceFacts, chunks: Sequence[pa.Table], placement: StagePlacement
) -> Iterator[tuple[int, int]]:
    if not chunks:
        return
    if facts.asked is not None:
        yield from map(Embedder(spec, facts.fingerprint, facts.asked), chunks)
    elif sum(chunk.nbytes for chunk in chunks) <= LITTLE_BYTES and not placement.gpus:
        task = ray.remote(_embed_here).options(**placement.ray_options)
        yield from results([task.remote(spec, facts.fingerprint, list(chunks))])[0]
    else:
        yield from _on_actors(spec, facts.fingerprint, chunks, placement)


def _embed_here(spec: SourceSpec, fingerprint: str, chunks: Sequence[pa.Table]) -> list[tuple[int, int]]:
    """Embed in one task what would take less time than starting a pool of actors (about 5 s)."""
    return list(map(Embedder(spec, fingerprint), chunks))


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
