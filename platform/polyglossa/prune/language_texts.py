"""Texts by language, from a corpus artifact: a bounded sample of each, drawn by hash, so that any split gives the same.

All that a member will read counts: documents, queries of the training split, and instructions, as a language of their
own.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import pyarrow.fs as pafs
import pyarrow.parquet as pq

from polyglossa.artifact import Artifact, open_storage
from polyglossa.records import row_id

INSTRUCTIONS = "instructions"
UNKNOWN = "und"
_COLUMNS = ("text", "query", "instruction", "document_instruction", "language", "split")
Sample = dict[str, list[tuple[bytes, str]]]  # language → (hash, text), lowest hashes first


def corpus_files(corpus: Artifact) -> list[str]:
    """List the Parquet files of a corpus that hold texts of documents or queries."""
    return [corpus.at(folder, path) for folder in ("documents", "pairs") for path in _parquet_files(corpus.at(folder))]


def sample_texts(uri: str, per_language: int, seed: int) -> Sample:
    """Draw at most `per_language` texts of each language from one file."""
    found: dict[str, set[str]] = defaultdict(set)
    for language, text in _texts(uri):
        found[language].add(text)
    return {
        language: heapq.nsmallest(per_language, ((row_id(str(seed), text), text) for text in texts))
        for language, texts in found.items()
    }


def join_samples(samples: Iterable[Sample], per_language: int) -> Sample:
    """Join the samples of several files into the sample of all."""
    joined: dict[str, set[tuple[bytes, str]]] = defaultdict(set)
    for sample in samples:
        for language, texts in sample.items():
            joined[language].update(texts)
    return {language: heapq.nsmallest(per_language, joined[language]) for language in sorted(joined)}


def _texts(uri: str) -> Iterator[tuple[str, str]]:
    filesystem, path = open_storage(uri)
    with filesystem.open_input_file(path) as stream:
        file = pq.ParquetFile(stream)
        columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=columns):
            for row in batch.to_pylist():
                yield from _texts_of(row)


def _texts_of(row: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    if row.get("split", "train") != "train":
        return
    text = row.get("text") or row.get("query")
    if text:
        yield row.get("language") or UNKNOWN, text
    for name in ("instruction", "document_instruction"):
        if instruction := row.get(name):
            yield INSTRUCTIONS, instruction


def _parquet_files(uri: str) -> list[str]:
    """Paths relative to the folder, in order."""
    filesystem, root = open_storage(uri)
    entries = filesystem.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    return sorted(entry.path.removeprefix(root).lstrip("/") for entry in entries if entry.extension == "parquet")
