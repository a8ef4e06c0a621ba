"""The store of a teacher from outside: texts behind its own prompts, each embedded once through the vector store.

The teacher reads with its own tokenizer, here or behind an endpoint, so it is given texts and not tokens. What a killed
run has embedded lies in the vector store and is not asked for again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, Draft, open_storage
from polyglossa.data.pack_index import PackedSource, read_pack_index
from polyglossa.distill.store import States, store_schema, teacher_bundle
from polyglossa.embedding.actors import SourceFacts, SourceSpec, embed_missing, source_facts
from polyglossa.embedding.rendering import render_documents, render_queries
from polyglossa.embedding.text_chunks import distinct, ids_of
from polyglossa.errors import DataError
from polyglossa.recipe.outside import OutsideTeacher
from polyglossa.recipe.placement import StagePlacement
from polyglossa.recipe.sections.teacher import TeacherConfig
from polyglossa.runtime import console
from polyglossa.runtime.nodes import stage_precision
from polyglossa.vectors import VectorStore

_WINDOW_TEXTS = 1 << 20  # rendered at a time: about half a gigabyte


def write_outside_store(
    config: TeacherConfig, teacher: OutsideTeacher, pack: Artifact, draft: Draft, placement: StagePlacement
) -> None:
    """Write the teacher store of a pack of texts.

    Args:
        config: width and precision.
        teacher: the model and its prompts.
        pack: made with `texts`.
        draft: receives the store.
        placement: actors that embed, where the model runs here.

    Raises:
        DataError: the model is not that of sentence-transformers, or a text has no usable state.
        EndpointError: the endpoint does not answer, or not as it should.
    """
    spec, source = _open(config, teacher, draft, placement)
    store = VectorStore(spec.root, source.fingerprint)
    texts = embedded = 0
    for files in windows(read_pack_index(pack.uri).sources, _WINDOW_TEXTS):
        rendered = {path: _rendered_file(pack.at(path), teacher, source.prompts) for path in files}
        wanted = distinct(pa.concat_arrays([bundle for bundles in rendered.values() for bundle in bundles]))
        embedded += embed_missing(wanted, spec, source, placement, what="distill")[0]
        store.refresh()
        _check_complete(wanted, store, teacher)
        for path, bundles in rendered.items():
            states = (store.read(ids_of(bundle), normalise=False)[:, : config.width] for bundle in bundles)
            texts += _write(pack.at(path), draft.at(path), states, config.stored)
    width = min(source.width, config.width or source.width)
    draft.count(texts=texts, embedded=embedded, width=width)


def _open(
    config: TeacherConfig, teacher: OutsideTeacher, draft: Draft, placement: StagePlacement
) -> tuple[SourceSpec, SourceFacts]:
    """Open the teacher; one that runs here is held to sentence-transformers first."""
    root = draft.uri.rpartition("/artifacts/")[0]
    device = placement.torch_device
    if teacher.endpoint is not None:
        spec = SourceSpec(teacher, config.dtype, device, None, placement.threads, root)
        if teacher.prompts == "model" and teacher.query_prompt is teacher.document_prompt is None:
            console.say(f"{teacher.label}: the recipe gives no prompts, an endpoint tells none; texts are sent bare")
        return spec, source_facts(spec, placement)
    precision = stage_precision(config.dtype, placement)
    draft.precision = precision.plain()
    spec = SourceSpec(teacher, precision.dtype, device, teacher.max_tokens, placement.threads, root)
    return spec, source_facts(spec, placement, parity=teacher.model)


def windows(sources: Sequence[PackedSource], most_texts: int) -> Iterator[list[str]]:
    """Group the training files of a pack so that a group holds so many texts, or is one file."""
    window: list[str] = []
    texts = 0
    for source in sources:
        sizes = iter(source.bundles)
        for file in source.files:
            held = sum(next(sizes).texts for _ in range(file.bundles))
            if not file.bundles:
                continue  # nothing was written for it
            if window and texts + held > most_texts:
                yield window
                window, texts = [], 0
            window.append(file.path)
            texts += held
    if window:
        yield window


def render_bundle(bundle: pa.Table, teacher: OutsideTeacher, prompts: Mapping[str, str]) -> pa.Array:
    """Render the texts of a bundle as the teacher reads them.

    Args:
        bundle: a one-row TEXT_BUNDLE table.
        teacher: what the recipe says of its prompts.
        prompts: its own, by name.
    """
    texts, instructions, asks = (_only(bundle, name) for name in ("texts", "instructions", "queries"))
    queries = render_queries(texts, instructions, teacher, prompts)
    return pc.if_else(asks, queries, render_documents(texts, teacher, prompts))


def _rendered_file(uri: str, teacher: OutsideTeacher, prompts: Mapping[str, str]) -> list[pa.Array]:
    return [render_bundle(bundle, teacher, prompts) for bundle in _bundles(uri)]


def _bundles(uri: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    filesystem, path = open_storage(uri)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns)


def _only(bundle: pa.Table, column: str) -> pa.Array:
    return bundle.column(column).combine_chunks().flatten()


def _check_complete(wanted: pa.Table, store: VectorStore, teacher: OutsideTeacher) -> None:
    held = store.holds(wanted.column("text_id"))
    if not held.all():
        first = wanted.column("text")[int(np.argmin(held))].as_py()
        raise DataError(
            f"teacher {teacher.label}: gave no usable state (not finite, or zero) for {int((~held).sum())} of "
            f"{len(held)} texts, the first is {first[:80]!r}. A student cannot learn from it; check the teacher, or "
            "drop such rows with a filter of the corpus."
        )


def _write(pack_file: str, store_file: str, states: Iterable[States], stored: str) -> int:
    """Write the store's file for one file of the pack; returns its texts."""
    filesystem, path = open_storage(store_file)
    count = 0
    with pq.ParquetWriter(path, store_schema(stored), filesystem=filesystem, compression="zstd") as writer:
        for bundle, state_TD in zip(_bundles(pack_file, ["source", "bundle", "text_ids"]), states, strict=True):
            kept_TD = state_TD.astype(stored)
            if not np.isfinite(kept_TD).all():
                name = PurePosixPath(pack_file).name
                raise DataError(f"{name}: the teacher's states do not fit {stored}; set the stage's `dtype: float32`.")
            writer.write_table(teacher_bundle(bundle, kept_TD))
            count += len(kept_TD)
    return count
