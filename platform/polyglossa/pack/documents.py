"""Find document texts by id: a sorted column of ids beside a column of texts. Arrow in, Arrow out, nothing copied.

The table travels through Ray's object store, where every packing task on a node maps the same memory.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from polyglossa.errors import ArtifactError


@dataclass(frozen=True)
class Documents:
    """Texts by document id."""

    table: pa.Table
    """Columns doc_id (ascending) and text."""

    @classmethod
    def of(cls, table: pa.Table) -> "Documents":
        """Sort a DOCUMENT table by id and keep what is looked up."""
        kept = table.select(["doc_id", "text"])
        kept = kept.set_column(1, "text", pc.cast(kept["text"], pa.large_string())).combine_chunks()
        return cls(kept.take(np.argsort(id_bytes(kept["doc_id"]), kind="stable")).combine_chunks())

    def rows(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Return the row of each id.

        Args:
            ids: S16 [N].

        Raises:
            ArtifactError: an id is not there.
        """
        known = id_bytes(self.table["doc_id"])
        row = np.minimum(np.searchsorted(known, ids), max(0, len(known) - 1))
        missing = known[row] != ids if len(known) else np.ones(len(ids), dtype=bool)
        if missing.any():
            first = ids[missing][0].ljust(16, b"\0").hex()
            raise ArtifactError(
                f"{int(missing.sum())} references point to documents that the corpus does not hold, the first is "
                f"{first}. Run the corpus stage again."
            )
        return row

    def texts(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the texts of rows."""
        return self.table["text"].take(pa.array(rows)).to_pylist()


def id_bytes(column: pa.ChunkedArray | pa.Array) -> NDArray[np.bytes_]:
    """View a column of 16-byte ids as S16. numpy drops trailing zero bytes of single items: pad before showing one."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    if not len(array):
        return np.empty(0, dtype="S16")
    return np.frombuffer(array.buffers()[1], dtype="S16")[array.offset : array.offset + len(array)]
