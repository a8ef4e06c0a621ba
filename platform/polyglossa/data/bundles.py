"""Read packed bundles: token ids and examples of a few hundred rows as flat numpy arrays.

A pack's `index.json` names the files of each source; every row group of a file is one bundle. A teacher store holds the
same files with one state per text instead of tokens. Readers keep the last files open and the last bundles in memory.

Legend: T texts of the bundle, Q examples, M mined negatives.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from polyglossa.artifact import open_storage
from polyglossa.data.pack_index import PackedSource, Part, read_pack_index
from polyglossa.errors import ArtifactError

Ints = NDArray[np.int64]

OPEN_FILES = 128
"""That a reader keeps open, with the footers (about 100 KB each) that tell where their bundles are: a pack of the
published corpus has thousands."""


@dataclass(frozen=True)
class TeacherStore:
    """A teacher's states for the texts of a pack."""

    uri: str
    width: int | None = None
    """First coordinates that are read; None means all."""


@dataclass(frozen=True)
class Bundle:
    """One bundle; ragged columns are flat values with offsets."""

    tokens: NDArray[np.uint32]
    token_offsets: Ints
    """[T + 1]: text t is tokens[offsets[t] : offsets[t + 1]]."""
    text_ids: NDArray[np.bytes_]
    """S16 [T]."""
    query_Q: Ints
    positive_Q: Ints
    negatives: Ints
    negative_offsets: Ints
    """[Q + 1]."""
    group_Q: Ints
    positive_score_Q: NDArray[np.float32]
    score_Q: NDArray[np.float32] | None = None
    """Scores of pairs, NaN where one has none; None where the pack holds none."""
    candidate_scores: NDArray[np.float32] | None = None
    """A re-scorer's: of each example's positive, then of its mined negatives, so that those of example q begin at
    `negative_offsets[q] + q`; NaN where there is none, None where the pack holds none."""
    teacher_TE: NDArray[np.floating[Any]] | None = None
    """Raw states of the teachers, side by side."""

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(value.nbytes for value in vars(self).values() if value is not None)


class BundleReader:
    """Random access to the bundles of a pack, with its teacher's states where there is one."""

    def __init__(
        self,
        pack_uri: str,
        teachers: Sequence[TeacherStore] = (),
        *,
        part: Part = "bundles",
        cache_bytes: int = 64 << 20,
    ):
        """Open a pack.

        Args:
            pack_uri: the pack artifact.
            teachers: stores of its texts' states.
            part: `bundles` (training) or `validation`.
            cache_bytes: memory for bundles that were read last.
        """
        self._pack_uri, self._teachers = pack_uri, tuple(teachers)
        self._locations = {source.name: _locations(source, part) for source in read_pack_index(pack_uri).sources}
        self._files: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._cache: OrderedDict[tuple[str, int], Bundle] = OrderedDict()
        self._room, self._cache_bytes = cache_bytes, cache_bytes

    def bundles(self, source: str) -> int:
        """How many bundles a source has."""
        return len(self._locations[source])

    def read(self, source: str, bundle: int) -> Bundle:
        """Read one bundle."""
        key = (source, bundle)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        found = self._read(*self._locations[source][bundle])
        self._cache[key] = found
        self._room -= found.nbytes
        while self._room < 0 and len(self._cache) > 1:
            self._room += self._cache.popitem(last=False)[1].nbytes
        return found

    def _read(self, path: str, row_group: int) -> Bundle:
        file = self._open(f"{self._pack_uri}/{path}")
        held = [name for name in _OPTIONAL if name in file.schema_arrow.names]
        table = file.read_row_group(row_group, columns=[*_COLUMNS, *held])
        bundle = bundle_of(table)
        if not self._teachers:
            return bundle
        states = [
            states_of(self._stored(teacher, path, row_group), bundle.text_ids)[:, : teacher.width]
            for teacher in self._teachers
        ]
        return replace(bundle, teacher_TE=np.concatenate(states, axis=1) if len(states) > 1 else states[0])

    def _stored(self, teacher: TeacherStore, path: str, row_group: int) -> pa.Table:
        again = f"the teacher store {teacher.uri} has no states for {path}, bundle {row_group}"
        try:
            file = self._open(f"{teacher.uri}/{path}")
        except FileNotFoundError:
            raise ArtifactError(f"{again}: it was made from other sources. Run distill for this pack.") from None
        if row_group >= file.num_row_groups:
            raise ArtifactError(f"{again}: it holds {file.num_row_groups}. Run distill for this pack.")
        return file.read_row_group(row_group)

    def _open(self, uri: str) -> pq.ParquetFile:
        if uri not in self._files:
            filesystem, path = open_storage(uri)
            self._files[uri] = pq.ParquetFile(path, filesystem=filesystem, memory_map=False)
            while len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close(force=True)
        self._files.move_to_end(uri)
        return self._files[uri]


def iter_bundles(pack_uri: str, source: str, *, part: Part = "bundles") -> Iterator[tuple[str, int, pa.Table]]:
    """Walk a source's bundles in order: (path inside the pack, row group, one-row TOKEN_BUNDLE table)."""
    found = next(one for one in read_pack_index(pack_uri).sources if one.name == source)
    for held in found.files_of(part):
        filesystem, full = open_storage(f"{pack_uri}/{held.path}")
        with pq.ParquetFile(full, filesystem=filesystem) as file:
            for row_group in range(held.bundles):
                yield held.path, row_group, file.read_row_group(row_group)


def bundle_of(table: pa.Table) -> Bundle:
    """Turn a one-row TOKEN_BUNDLE table into arrays."""
    tokens = _only(table, "tokens")
    negatives = _only(table, "negatives")
    return Bundle(
        tokens=_values(tokens.flatten()),
        token_offsets=_offsets(tokens),
        text_ids=_ids(table),
        query_Q=_values(_only(table, "query")).astype(np.int64),
        positive_Q=_values(_only(table, "positive")).astype(np.int64),
        negatives=_values(negatives.flatten()).astype(np.int64),
        negative_offsets=_offsets(negatives),
        group_Q=_values(_only(table, "group")),
        positive_score_Q=_values(_only(table, "positive_score")),
        score_Q=_values(_only(table, "score")) if "score" in table.column_names else None,
        candidate_scores=_scores(table) if "candidate_scores" in table.column_names else None,
    )


def _scores(table: pa.Table) -> NDArray[np.float32]:
    return np.asarray(_values(_only(table, "candidate_scores").flatten()), np.float32)


_COLUMNS = ["tokens", "text_ids", "query", "positive", "negatives", "group", "positive_score"]
_OPTIONAL = ["score", "candidate_scores"]


def _locations(source: PackedSource, part: Part) -> list[tuple[str, int]]:
    return [(file.path, group) for file in source.files_of(part) for group in range(file.bundles)]


def _only(table: pa.Table, column: str) -> Any:
    return table.column(column).chunk(0).flatten()


def _values(array: pa.Array) -> Any:
    return array.to_numpy(zero_copy_only=False)


def _offsets(array: pa.ListArray) -> Ints:
    offsets = _values(array.offsets).astype(np.int64)
    return offsets - offsets[0]


def _ids(table: pa.Table) -> NDArray[np.bytes_]:
    column = _only(table, "text_ids")
    start = column.offset * 16
    return np.frombuffer(column.buffers()[1], dtype="S16")[start // 16 : start // 16 + len(column)]


def states_of(states: pa.Table, text_ids: NDArray[np.bytes_]) -> NDArray[np.floating[Any]]:
    """Turn a one-row TEACHER_BUNDLE table into raw states [T, width].

    Raises:
        ArtifactError: its texts are not those of the bundle.
    """
    if not np.array_equal(_ids(states), text_ids):
        raise ArtifactError("the teacher store was made from another pack: its texts differ. Run distill again.")
    values: NDArray[np.floating[Any]] = _values(_only(states, "states").flatten())
    return values.reshape(len(text_ids), -1)
