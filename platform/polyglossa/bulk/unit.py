"""Embed one unit: read its rows in batches, embed each, write Parquet, and move the file into place. No Ray."""

import posixpath
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.artifact import open_storage
from polyglossa.bulk.plan import EmbedJob, Unit
from polyglossa.engines.choose import open_engine
from polyglossa.engines.engine import Engine
from polyglossa.model.directory import describe_directory
from polyglossa.model.encoder import tokenize
from polyglossa.model.pass_plan import cut_passes
from polyglossa.model.tokenizer_folder import load_directory_tokenizer
from polyglossa.readers.tables import Batch, Columns, read_piece
from polyglossa.storage import cached_folder
from polyglossa.vectors import OUTPUT_DTYPES, finish

_BATCH_ROWS = 2048


@dataclass(frozen=True)
class UnitDone:
    """What became of a unit."""

    name: str
    texts: int
    tokens: int
    rejected: int
    """Rows that could not be read, or hold no text."""
    seconds: float


class UnitEmbedder:
    """A model that is open, and a job."""

    def __init__(self, job: EmbedJob) -> None:
        path = cached_folder(job.model)
        self._job = job
        self._engine: Engine = open_engine(path, job.engine)
        description, _ = describe_directory(path)
        self._tokenizer = load_directory_tokenizer(path, max_tokens=job.engine.max_tokens)
        self._max_tokens = min(self._tokenizer.model_max_length, description.longest)
        named = description.default_prompt if job.prompt is None else job.prompt
        self._prompt = description.prompts.get(named or "", "")

    def embed(self, unit: Unit) -> UnitDone:
        """Write a unit's vectors."""
        started = time.perf_counter()
        filesystem, path = open_storage(unit.target(self._job.out))
        part = f"{posixpath.dirname(path)}/.{unit.name}.part"
        texts = tokens = rejected = 0
        try:
            with filesystem.open_output_stream(part) as stream:
                writer: pq.ParquetWriter | None = None
                for ids, written, bad in self._batches(unit):
                    rejected += bad
                    table, spent = self._vectors(ids, written)
                    writer = writer or pq.ParquetWriter(stream, table.schema, compression="zstd")
                    writer.write_table(table)
                    texts, tokens = texts + table.num_rows, tokens + spent
                if writer is None:
                    writer = pq.ParquetWriter(stream, self._vectors([], [])[0].schema)
                writer.close()
            filesystem.move(part, path)
        finally:
            info = filesystem.get_file_info(part)
            if info.is_file:
                filesystem.delete_file(part)
        return UnitDone(unit.name, texts, tokens, rejected, time.perf_counter() - started)

    def _batches(self, unit: Unit) -> Iterator[tuple[list[str], list[str], int]]:
        """Yield ids, texts, and the number of rows without one."""
        job = self._job
        columns = Columns({job.text_column: "text", **({job.id_column: "key"} if job.id_column else {})}, {})
        row = 0
        for batch in read_piece(unit.piece, unit.kind, columns):
            for start in range(0, batch.table.num_rows, _BATCH_ROWS):
                part = batch.table.slice(start, _BATCH_ROWS)
                texts = part[job.text_column].to_pylist()
                names = part[job.id_column].to_pylist() if job.id_column else self._places(unit, row, len(texts))
                row += len(texts)
                yield names, texts, _bad(batch) if start == 0 else 0
            if not batch.table.num_rows:
                yield [], [], _bad(batch)

    def _places(self, unit: Unit, row: int, count: int) -> list[str]:
        name = posixpath.basename(unit.piece.file.uri)
        return [f"{name}:{unit.piece.start}:{place}" for place in range(row, row + count)]

    def _vectors(self, ids: list[str], texts: list[str]) -> tuple[pa.Table, int]:
        job, width = self._job, self._job.width or self._engine.width
        tokens = tokenize(self._tokenizer, [self._prompt + text for text in texts], self._max_tokens)
        state_NS = np.zeros((len(texts), self._engine.width), np.float32)
        for rows in cut_passes([len(one) for one in tokens], job.chunk_tokens):
            state_NS[rows] = self._engine.states([tokens[row] for row in rows])
        values = OUTPUT_DTYPES[job.dtype](finish(state_NS, width))
        flat = pa.array(values.reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        return pa.table({"id": pa.array(ids, pa.string()), "vector": vectors}), sum(map(len, tokens))


def _bad(batch: Batch) -> int:
    return len(batch.bad)
