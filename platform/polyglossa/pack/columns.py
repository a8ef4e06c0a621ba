"""Between Arrow columns and numpy arrays: what packing needs of both."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def dictionary_codes(encoded: pa.DictionaryArray) -> Ints:
    """Codes of a dictionary column, -1 where null."""
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def gather_ranges(values: NDArray[Any], starts: Ints, lengths: Ints) -> NDArray[Any]:
    """Concatenate values[start : start + length] of many ranges at once."""
    before = np.cumsum(lengths) - lengths
    return values[np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))]


def flat(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def id_column(ids: NDArray[np.bytes_]) -> pa.Array:
    """Sixteen-byte ids as a column."""
    return pa.Array.from_buffers(pa.binary(16), len(ids), [None, pa.py_buffer(np.ascontiguousarray(ids).tobytes())])


def lists(values: NDArray[Any] | pa.Array, lengths: Ints) -> pa.ListArray:
    """A column of lists whose values lie one after another."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values if isinstance(values, pa.Array) else pa.array(values))


def one_row(values: pa.Array) -> pa.ListArray:
    """A column of one row that holds all the values."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
