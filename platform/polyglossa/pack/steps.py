"""The work of one task in each step of packing; memory depends on its piece, never on the corpus.

read: files of pairs → examples by run. sort: a run → its examples by group, and which documents they want, by bucket.
documents: files of documents → texts by bucket. answer: a bucket → the texts that each group wants. pack: files of the
artifact, a group at a time. Bucketed files rather than joins of Ray Data: a joined block of Ray Data 2.60 lies in the
object store and is lost with its node, a piece here is committed, and its rows have one order whatever the cluster.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from polyglossa.artifact import open_storage
from polyglossa.engine.tokenizers import load_stored_tokenizer
from polyglossa.model.instructions import pinned_prompts
from polyglossa.pack.bundling import Packed, pack_bundles, pack_texts
from polyglossa.pack.columns import flat, id_column
from polyglossa.pack.documents import Documents, id_bytes
from polyglossa.pack.examples import EXAMPLE, PAIR_COLUMNS, Examples, explode_pairs, reading_places
from polyglossa.pack.layout import Group, Job, Part
from polyglossa.recipe.sections.pack import PackConfig
from polyglossa.records import ID
from polyglossa.scratch.task_store import (
    TaskStore,
    bucket_of,
    chunks,
    read_bucket,
    write_batches,
    write_buckets,
)
from polyglossa.storage import local_folder

PLACED = EXAMPLE.append(pa.field("part", pa.int32(), nullable=False))
"""An example and its part."""
REQUEST = pa.schema([pa.field("doc_id", ID, nullable=False), pa.field("group", pa.int32(), nullable=False)])
"""A document that a group wants."""
TEXT = pa.schema([pa.field("doc_id", ID, nullable=False), pa.field("text", pa.large_string(), nullable=False)])
"""A document's text."""

_ROWS = 16_384  # read of a file at once
_CHUNK_BYTES = 32 * 2**20
Figures = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What every task knows."""

    config: PackConfig
    model_uri: str | None
    """Model directory whose tokenizer packs; None packs texts."""
    parts: tuple[Part, ...]
    runs: int
    buckets: int
    """Buckets of documents."""


def read(work: TaskStore, plan: Plan, files: Sequence[tuple[str, str]]) -> Figures:
    """Write the examples of some files, by run.

    Args:
        work: where to write.
        plan: what every task knows.
        files: source and address of each.
    """
    counts: Counter[tuple[int, int]] = Counter()
    pairs: Counter[int] = Counter()
    empty: Counter[int] = Counter()

    def exploded() -> Iterator[pa.Table]:
        for source, uri in files:
            for batch in _batches(uri, (*PAIR_COLUMNS, "split")):
                for number, part in enumerate(plan.parts):
                    if part.source != source:
                        continue
                    rows = batch.filter(pc.equal(batch["split"], part.split))
                    pairs[number] += len(rows)
                    empty[number] += pc.equal(pc.list_value_length(rows["positive_ids"]), 0).to_pylist().count(True)
                    found = explode_pairs(
                        rows,
                        source=source,
                        negatives=plan.config.hard_negatives,
                        instructions=plan.config.instructions,
                        seed=plan.config.seed,
                    )
                    yield found.append_column(PLACED.field("part"), pa.array(np.full(len(found), number, np.int32)))

    written = 0
    for table in chunks(exploded(), _CHUNK_BYTES):
        run = np.zeros(len(table), np.int64)
        order, of = flat(table["order"]).to_numpy(), flat(table["part"]).to_numpy()
        for number in np.unique(of).tolist():
            inside = of == number
            run[inside] = plan.parts[number].run_of(order[inside])
            found, each = np.unique(run[inside], return_counts=True)
            counts.update({(number, one): many for one, many in zip(found.tolist(), each.tolist(), strict=True)})
        write_buckets(table, run, plan.runs, work.at(_rows_file(written)))
        written += 1
    return {
        "files": written,
        "examples": [[*place, count] for place, count in sorted(counts.items())],
        "pairs": sorted(pairs.items()),
        "without_positive": sorted(empty.items()),
    }


def rows_files(works: Iterable[TaskStore]) -> list[str]:
    """Files that step `read` or `documents` wrote, in order."""
    return [work.at(_rows_file(number)) for work in works for number in range(work.figures()["files"])]


def _rows_file(number: int) -> str:
    return f"rows-{number:05}.arrow"


def _batches(uri: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Read those of the columns that a Parquet file has, some rows at a time."""
    filesystem, path = open_storage(uri)
    with filesystem.open_input_file(path) as stream, pq.ParquetFile(stream) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(_ROWS, columns=there, use_threads=False):
            yield pa.Table.from_batches([batch])


@dataclass(frozen=True)
class Cut:
    """Where the examples of a part that lie in a run belong."""

    part: int
    first: int
    """Examples of the part that lie in runs before."""
    groups: tuple[Group, ...]
    """Groups that the run touches; what lies in none is beyond the part's cap."""


def sort(work: TaskStore, plan: Plan, run: int, cuts: Sequence[Cut], files: Sequence[str]) -> Figures:
    """Write the examples of a run in order, a record batch per group, and the documents that each group wants.

    Args:
        work: where to write.
        plan: what every task knows.
        run: which run.
        cuts: its parts.
        files: what step `read` wrote.
    """
    rows = read_bucket(files, run, PLACED)
    of = flat(rows["part"]).to_numpy()
    batches: list[int] = []
    requests = [REQUEST.empty_table()]
    said: list[tuple[int, dict[str, dict[str, int]]]] = []

    def ordered() -> Iterator[pa.RecordBatch]:
        for cut in cuts:
            part = rows.filter(pa.array(of == cut.part)).select(EXAMPLE.names)
            part = part.take(reading_places(part)).combine_chunks()
            end = min(cut.first + len(part), cut.groups[-1].stop) if cut.groups else cut.first
            said.append((cut.part, _instructions(part.slice(0, max(0, end - cut.first)))))
            for group in cut.groups:
                first, last = max(group.start, cut.first), min(group.stop, end)
                if first < last:
                    examples = part.slice(first - cut.first, last - first).combine_chunks()
                    batches.append(group.number)
                    requests.append(_requests(examples, group.number))
                    yield from examples.to_batches()

    write_batches(ordered(), EXAMPLE, work.at("examples.arrow"))
    wanted = pa.concat_tables(requests)
    write_buckets(wanted, bucket_of(wanted["doc_id"], plan.buckets), plan.buckets, work.at("requests.arrow"))
    return {"groups": batches, "instructions": said}


def _instructions(examples: pa.Table) -> dict[str, dict[str, int]]:
    """Count the examples of each instruction; those without one are left out."""
    found = {}
    for column, name in (("instruction", "instructions"), ("document_instruction", "document_instructions")):
        counted = flat(examples[column]).drop_null().value_counts().to_pylist()
        found[name] = {entry["values"]: entry["counts"] for entry in counted if entry["values"]}
    return found


def _requests(examples: pa.Table, group: int) -> pa.Table:
    wanted = Examples.of(examples)
    ids = np.unique(np.concatenate([wanted.positive_ids, wanted.negative_ids]))
    return pa.table([id_column(ids), pa.array(np.full(len(ids), group, np.int32))], schema=REQUEST)


def documents(work: TaskStore, plan: Plan, files: Sequence[str]) -> Figures:
    """Write the texts of some files of documents, by bucket."""
    tables = (table.cast(TEXT) for uri in files for table in _batches(uri, TEXT.names))
    written = 0
    for table in chunks(tables, _CHUNK_BYTES):
        write_buckets(table, bucket_of(table["doc_id"], plan.buckets), plan.buckets, work.at(_rows_file(written)))
        written += 1
    return {"files": written}


def answer(
    work: TaskStore, plan: Plan, bucket: int, text_files: Sequence[str], request_files: Sequence[str], groups: int
) -> Figures:
    """Write the texts of a bucket that each group wants, a record batch per group.

    Args:
        work: where to write.
        plan: what every task knows.
        bucket: which bucket.
        text_files: what step `documents` wrote.
        request_files: what step `sort` wrote.
        groups: groups of the pack.

    Raises:
        ArtifactError: a document is not there.
    """
    requests = read_bucket(request_files, bucket, REQUEST)
    texts = Documents.of(read_bucket(text_files, bucket, TEXT))
    group, ids = flat(requests["group"]).to_numpy(), id_bytes(requests["doc_id"])
    row = texts.rows(ids)
    order = np.argsort(group, kind="stable")
    row, edges = row[order], np.searchsorted(group[order], np.arange(groups + 1))

    def answers() -> Iterator[pa.RecordBatch]:
        for number in range(groups):
            # Two runs of a group may want the same document.
            taken = texts.table.take(pa.array(np.unique(row[edges[number] : edges[number + 1]])))
            yield from taken.cast(TEXT).combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], TEXT)]

    write_batches(answers(), TEXT, work.at("texts.arrow"))
    return {}


@dataclass(frozen=True)
class FilePlan:
    """A file of the artifact, and where its examples lie."""

    job: Job
    groups: tuple[tuple[int, int, tuple[tuple[str, int], ...]], ...]
    """Number and first bundle of each group, and its record batches: file and place."""


def pack(work: TaskStore, plan: Plan, files: Sequence[FilePlan], text_files: Sequence[str]) -> Figures:
    """Write some files of the artifact; returns the figures of each for the index.

    Args:
        work: where to write.
        plan: what every task knows.
        files: which files.
        text_files: what step `answer` wrote.
    """
    tokenizer: Tokenizer | None = None
    prompts = ("", "")
    if plan.model_uri is not None:
        tokenizer = load_stored_tokenizer(plan.model_uri).backend_tokenizer
        if plan.config.prompts is not None:
            prompts = pinned_prompts(_prompts(plan.model_uri))
    found = []
    for file in files:
        bundles = _packed(file, plan.config, tokenizer, prompts, text_files)
        found.append(_write_bundles(bundles, work.at(file.job.path)))
    return {"files": found}


def _packed(
    file: FilePlan, config: PackConfig, tokenizer: Tokenizer | None, prompts: tuple[str, str], text_files: Sequence[str]
) -> Iterator[Packed]:
    """Bundle the examples of a file, a group at a time: as tokens, or as texts where no tokenizer is given."""
    for number, first_bundle, places in file.groups:
        batches = [read_bucket([uri], place, EXAMPLE) for uri, place in places]
        examples = Examples.of(pa.concat_tables(batches).combine_chunks())
        documents = Documents.of(read_bucket(text_files, number, TEXT))
        bundling: dict[str, Any] = {
            "source": file.job.source,
            "bundle_rows": config.bundle_rows,
            "first_bundle": first_bundle,
        }
        if tokenizer is None:
            yield from pack_texts(examples, documents, **bundling)
        else:
            yield from pack_bundles(
                examples,
                documents,
                tokenizer,
                task=file.job.task,
                max_tokens=config.max_tokens,
                prompts=prompts,
                scores=config.scores,
                **bundling,
            )


def _prompts(model_uri: str) -> dict[str, str]:
    """Prompts that a model directory pins."""
    from polyglossa.model.tokenizer_folder import read_prompts  # transformers

    with local_folder(model_uri, weights=False) as folder:
        return read_prompts(folder)


def _write_bundles(bundles: Iterable[Packed], uri: str) -> Figures:
    filesystem, path = open_storage(uri)
    sizes: list[dict[str, int]] = []
    totals = {"negatives": 0, "tokens_cut": 0, "texts_cut": 0}
    writer = None
    for bundle in bundles:
        if writer is None:
            writer = pq.ParquetWriter(
                path, bundle.table.schema, filesystem=filesystem, compression="zstd", use_dictionary=False
            )
        writer.write_table(bundle.table)
        sizes.append({"examples": bundle.examples, "texts": bundle.texts, "tokens": bundle.tokens})
        for name in totals:
            totals[name] += getattr(bundle, name)
    if writer is not None:
        writer.close()
    return {"bundles": sizes, **totals}
