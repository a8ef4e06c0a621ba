"""Documents that an endpoint searches: their texts, and a table of vectors for each member, read when it starts.

A folder holds `texts.parquet` (columns `source`, `text`) and `<member>.npy`, float32 unit vectors [N, D] in the same
order. Vectors are mapped, not read: what several processes of a machine search lies in its memory once.
"""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from polyglossa.artifact import placed_file, read_table
from polyglossa.storage import cached_folder

Floats = npt.NDArray[np.float32]

_TEXTS = "texts.parquet"
_BLOCK = 65_536  # rows scored at a time: another width needs their lengths, which takes a copy of the block


@dataclass(frozen=True)
class Found:
    """A document that was found."""

    index: int
    """Its row."""
    score: float
    """Cosine."""
    source: str
    text: str


class Documents:
    """What one folder holds."""

    def __init__(self, uri: str) -> None:
        """Open a folder, on any storage."""
        folder = Path(cached_folder(uri))
        self._texts = read_table(str(folder / _TEXTS))
        self._vectors: dict[str, Floats] = {
            path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))
        }

    def __len__(self) -> int:
        return int(self._texts.num_rows)

    def has(self, member: str) -> bool:
        """Tell whether a member's vectors are there."""
        return file_stem(member) in self._vectors

    def search(self, member: str, query_D: Floats, count: int) -> list[Found]:
        """Find the documents nearest to a query; equals in the order of the documents.

        Args:
            member: whose vectors are searched.
            query_D: unit vector, of the member's width or its first so many coordinates.
            count: documents returned, at most.
        """
        return nearest(self._texts, self._vectors[file_stem(member)], query_D, count)


def nearest(texts: pa.Table, vector_ND: Floats, query_D: Floats, count: int) -> list[Found]:
    """Find the documents nearest to a query; equals in the order of the documents.

    Args:
        texts: columns `source` and `text`, a row a document.
        vector_ND: their unit vectors.
        query_D: unit vector, of the same width or its first so many coordinates.
        count: documents returned, at most.
    """
    blocks = range(0, len(vector_ND), _BLOCK)
    score_N = np.concatenate([_cosine(vector_ND[start : start + _BLOCK], query_D) for start in blocks])
    best = np.argsort(-score_N, kind="stable")[:count]
    rows = texts.take(best).to_pylist()
    return [
        Found(int(index), float(score_N[index]), row["source"], row["text"])
        for index, row in zip(best, rows, strict=True)
    ]


def write_documents(uri: str, texts: pa.Table, vectors: Mapping[str, Floats]) -> None:
    """Write a folder of documents; files that others read meanwhile are replaced whole.

    Args:
        uri: the folder.
        texts: columns `source` and `text`.
        vectors: member → unit vectors [N, D].
    """
    for member, vector_ND in vectors.items():
        with placed_file(posixpath.join(uri, f"{file_stem(member)}.npy")) as stream:
            np.lib.format.write_array(stream, np.ascontiguousarray(vector_ND, np.float32), allow_pickle=False)
    with placed_file(posixpath.join(uri, _TEXTS)) as stream:
        pq.write_table(texts, stream)


def file_stem(member: str) -> str:
    """Return what a member's file is called: names may hold slashes."""
    return member.replace("/", "--")


def _cosine(vector_ND: Floats, query_D: Floats) -> Floats:
    width = len(query_D)
    if width == vector_ND.shape[1]:
        return np.asarray(vector_ND @ query_D)
    cut_ND = vector_ND[:, :width]
    length_N = np.linalg.norm(cut_ND, axis=1)
    return np.asarray((cut_ND @ query_D) / np.maximum(length_N, np.finfo(np.float32).tiny))
