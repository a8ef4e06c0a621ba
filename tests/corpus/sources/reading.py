"""Small files in every format, and what the readers make of them."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from polyglossa.corpus.sources.shards import plan_shards, read_shard
from polyglossa.recipe.load import validate
from polyglossa.recipe.sections.corpus import CorpusConfig

ROWS = [{"query": f"question {i}", "passage": f"answer {i}", "language": "eng"} for i in range(20)]


def read(data: Path | str, *sources: dict[str, Any]) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Candidates and reasons of everything that the recipe entries name."""
    config = validate(CorpusConfig, {"data": str(data), "sources": list(sources)}, "test")
    readings = [reading for shard in plan_shards(config) for reading in read_shard(shard, config)]
    candidates = [row for reading in readings for row in reading.candidates.to_pylist()]
    return candidates, Counter(bad.reason for reading in readings for bad in reading.bad)


def pairs(files: str, **settings: Any) -> dict[str, Any]:
    return {"kind": "pairs", "name": "s", "task": "retrieval", "files": [files], **settings}


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def csv_text(rows: list[dict[str, Any]], mark: str) -> bytes:
    return "\n".join([mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]).encode()


def write(path: Path) -> None:
    """Write `ROWS` in the format that the suffix names."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=7)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(jsonl(ROWS)))
    elif path.suffix == ".zst":
        path.write_bytes(zstandard.compress(csv_text(ROWS, "\t")))
    else:
        path.write_bytes(
            jsonl(ROWS) if path.suffix == ".jsonl" else csv_text(ROWS, "," if path.suffix == ".csv" else "\t")
        )
