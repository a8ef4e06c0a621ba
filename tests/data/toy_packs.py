"""Packs written by hand for the tests of the plan and the feed, and what Ray workers of those tests run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from polyglossa.artifact import write_json
from polyglossa.data.plan_types import PlanSource
from polyglossa.records import TEACHER_BUNDLE, TOKEN_BUNDLE, text_id
from polyglossa.train.feed import rank_batches

EOS = 1


@dataclass(frozen=True)
class ToySource:
    """A made-up source."""

    name: str
    rows: int
    task: str = "retrieval"
    negatives: int = 0
    validation: int = 0


def plan_source(source: ToySource, bundle_rows: int = 32) -> PlanSource:
    sizes = np.diff([*range(0, source.rows, bundle_rows), source.rows])
    in_batch = source.task in ("retrieval", "bitext")
    return PlanSource(source.name, source.task, in_batch, sizes, source.negatives * source.rows)


def write_pack(folder: Path, sources: Sequence[ToySource], *, bundle_rows: int = 32) -> str:
    """Write a pack: texts have 4 to 29 tokens, rows 2 i and 2 i + 1 share a positive and a group."""
    entries = []
    for source in sources:
        in_batch = source.task in ("retrieval", "bitext")
        entry: dict[str, Any] = {"name": source.name, "task": source.task, "in_batch": in_batch}
        entry |= {"examples": source.rows, "negatives": source.rows * source.negatives}
        entry |= {"instructions": {}, "document_instructions": {}}
        for part, rows in (("bundles", source.rows), ("validation", source.validation)):
            path, sizes = f"{part}/{source.name}.parquet", []
            tables = [
                _bundle(source, number, range(first, min(rows, first + bundle_rows)))
                for number, first in enumerate(range(0, rows, bundle_rows))
            ]
            sizes = [_sizes(table) for table in tables]
            entry[part] = sizes
            entry["files" if part == "bundles" else "validation_files"] = [{"path": path, "bundles": len(tables)}]
            _write(folder / path, tables, TOKEN_BUNDLE)
        entries.append(entry)
    write_json(str(folder / "index.json"), {"sources": entries, "max_tokens": 30, "tokenizer": "toy"})
    return str(folder)


def write_teacher(folder: Path, pack: str, sources: Sequence[ToySource], width: int) -> str:
    """Write a teacher store whose state of a text is a function of its id."""
    for source in sources:
        path = f"bundles/{source.name}.parquet"
        file = pq.ParquetFile(f"{pack}/{path}")
        tables = []
        for number in range(file.num_row_groups):
            ids = file.read_row_group(number, columns=["text_ids"])["text_ids"][0].as_py()
            states = [teacher_state(identity, width) for identity in ids]
            row = {"source": source.name, "bundle": number, "text_ids": ids, "states": states}
            tables.append(pa.Table.from_pylist([row], schema=TEACHER_BUNDLE))
        _write(folder / path, tables, TEACHER_BUNDLE)
    return str(folder)


def teacher_state(identity: bytes, width: int) -> list[np.float16]:
    return [np.float16(identity[i % 16] / 256) for i in range(width)]


def text_tokens(text: str) -> list[int]:
    """Tokens of a toy text: as many as its hash says, and EOS."""
    identity = text_id(text)
    return [2 + byte for byte in (identity * 2)[1 : 4 + identity[0] % 26]] + [EOS]


def _bundle(source: ToySource, number: int, rows: range) -> pa.Table:
    texts: dict[str, int] = {}

    def index(text: str) -> int:
        return texts.setdefault(text, len(texts))

    query = [index(f"{source.name} query {row}") for row in rows]
    positive = [index(f"{source.name} positive {row // 2}") for row in rows]
    # Every third row is short of negatives.
    counts = [source.negatives if row % 3 else source.negatives // 2 for row in rows]
    negatives = [
        [index(f"{source.name} negative {row} {turn}") for turn in range(count)]
        for row, count in zip(rows, counts, strict=True)
    ]
    bundle = {
        "source": source.name,
        "task": source.task,
        "bundle": number,
        "tokens": [text_tokens(text) for text in texts],
        "text_ids": [text_id(text) for text in texts],
        "pair_ids": [text_id(f"{source.name} {row}") for row in rows],
        "query": query,
        "positive": positive,
        "negatives": negatives,
        "group": [row // 2 for row in rows],
        "positive_score": [row / 1000 for row in rows],
    }
    return pa.Table.from_pylist([bundle], schema=TOKEN_BUNDLE)


def _sizes(table: pa.Table) -> dict[str, int]:
    row = table.to_pylist()[0]
    return {"examples": len(row["query"]), "texts": len(row["tokens"]), "tokens": sum(map(len, row["tokens"]))}


def _write(path: Path, tables: Sequence[pa.Table], schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(table)


@ray.remote(num_cpus=0)
class Consumer:
    """A worker that reads its shard as a trainer does."""

    def receive(self, shard: Any, rank: int, world: int, start: int, pause: float = 0.0) -> list[dict[str, Any]]:
        """Return what arrived, in order, as plain values."""
        import time

        received = []
        for batch in rank_batches(shard, rank=rank, world=world, start=start):
            time.sleep(pause)
            received.append(
                {
                    "step": batch.step,
                    "rank": batch.rank,
                    "own": batch.own_R.tolist(),
                    "tokens": [chunk.tokens.tolist() for chunk in batch.chunks],
                    "seeds": [chunk.seed for chunk in batch.chunks],
                    "query": batch.query_Q.tolist(),
                    "wait": batch.wait_seconds,
                }
            )
        return received
