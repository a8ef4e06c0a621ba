"""A FAISS index of a job's vectors, built file by file; row numbers lead to ids through `ids.parquet`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.bulk.plan import EmbedJob
from polyglossa.errors import UserError

_TRAINED_ROWS = 100_000


def write_index(job: EmbedJob, kind: str) -> int:
    """Write `index.faiss` and `ids.parquet` beside the vectors.

    Args:
        job: finished, in a local folder.
        kind: FAISS's name of an index (`Flat`, `HNSW32`, `IVF1024,SQ8`); of binary vectors `BFlat` or `BHNSW32`.

    Returns:
        Vectors in it.

    Raises:
        UserError: the folder is remote, or FAISS does not know the kind.
    """
    import faiss

    if "://" in job.out:
        raise UserError(f"--index: {job.out} is not on this disk; FAISS writes local files.")
    files = sorted(Path(job.out, "vectors").glob("part-*.parquet"))
    width = pq.read_schema(files[0]).field("vector").type.list_size
    index: Any
    try:
        if job.dtype == "binary":
            index = faiss.index_binary_factory(8 * width, kind)
        else:
            index = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError:
        raise UserError(f"--index {kind}: FAISS knows no such index; Flat, HNSW32 and IVF1024,SQ8 are some.") from None
    if not index.is_trained:
        index.train(_sample(files, width, job.dtype))
    ids: list[pa.ChunkedArray] = []
    for table, vector_NV in _vectors(files, width, job.dtype):
        index.add(vector_NV)
        ids.append(table["id"])
    (faiss.write_index_binary if job.dtype == "binary" else faiss.write_index)(index, str(Path(job.out, "index.faiss")))
    names = pa.chunked_array([chunk for one in ids for chunk in one.chunks], pa.string())
    pq.write_table(pa.table({"id": names}), Path(job.out, "ids.parquet"))
    return int(index.ntotal)


def _vectors(files: list[Path], width: int, dtype: str) -> Iterator[tuple[pa.Table, np.ndarray]]:
    for file in files:
        table = pq.read_table(file)
        flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        values = flat.reshape(-1, width)
        if dtype == "int8":
            values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        yield table, np.ascontiguousarray(values if dtype == "binary" else values.astype(np.float32))


def _sample(files: list[Path], width: int, dtype: str) -> np.ndarray:
    parts, rows = [], 0
    for _, values in _vectors(files, width, dtype):
        parts.append(values)
        rows += len(values)
        if rows >= _TRAINED_ROWS:
            break
    return np.concatenate(parts)[:_TRAINED_ROWS]
