"""Keep what other models answered: values by 16-byte key, so that nothing is asked, or paid for, twice.

A store is the folder `<root>/answers/<fingerprint>/`; the fingerprint names who answers and how it is asked, a key
names what was asked. Shards are Arrow files that are only ever added, each by one atomic rename: a run that was killed
leaves all that it had appended, and several may append at once. The index takes 32 bytes an answer in memory; what a
run may add to it is capped by its recipe, as the answers cost something.

    store = AnswerStore(root, fingerprint, pa.float32())
    store.append(keys, scores)
    scores = store.read(keys)           # null where a key was never answered
"""

import posixpath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import xxhash

from polyglossa.artifact import open_storage, placed_file
from polyglossa.errors import ArtifactError
from polyglossa.vectors import Flags, as_keys

Ints = npt.NDArray[np.int64]

_SUFFIX = ".arrow"


class AnswerStore:
    """One fingerprint's answers. What others have added since shows after `refresh`."""

    def __init__(self, root: str, fingerprint: str, kind: pa.DataType) -> None:
        """Open a store; it need not be there.

        Args:
            root: storage root.
            fingerprint: who answers, and how it is asked.
            kind: type of the values.
        """
        self.uri = posixpath.join(root, "answers", fingerprint)
        self._schema = pa.schema([pa.field("key", pa.binary(16)), pa.field("value", kind)])
        self._filesystem, self._path = open_storage(self.uri)
        self._shards: list[str] = []
        self._keys = np.empty(0, "S16")
        self._places = np.empty((0, 2), np.int64)  # shard, row
        self._stale = True

    def __len__(self) -> int:
        self._look()
        return len(self._keys)

    def append(self, keys: pa.Array, values: pa.Array) -> None:
        """Keep answers, all of them in one new shard; doing it twice leaves one."""
        if not len(keys):
            return
        table = pa.table([keys, values], schema=self._schema)
        name = f"{xxhash.xxh3_64_hexdigest(b''.join(keys.to_pylist()))}-{len(keys)}{_SUFFIX}"
        with placed_file(posixpath.join(self.uri, name)) as stream, pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)
        self._stale = True

    def holds(self, keys: pa.Array) -> Flags:
        """Tell for every key whether it was answered."""
        return self._find(keys) >= 0

    def read(self, keys: pa.Array) -> pa.Array:
        """Return the value of every key, null where it was never answered."""
        found = self._find(keys)
        there = np.flatnonzero(found >= 0)
        place = self._places[found[there]]
        order = np.argsort(place[:, 0], kind="stable")
        parts = [
            self._load(self._shards[shard]).column("value").combine_chunks().take(pa.array(place[rows, 1]))
            for shard in np.unique(place[:, 0]).tolist()
            for rows in [order[place[order, 0] == shard]]
        ]
        position = np.full(len(keys), -1)
        position[there[order]] = np.arange(len(there))
        values = pa.concat_arrays(parts) if parts else pa.array([], self._schema.field("value").type)
        return values.take(pa.array(position, mask=position < 0))

    def refresh(self) -> None:
        """Take in the shards that were added since the last look.

        Raises:
            ArtifactError: a shard holds values of another type.
        """
        self._stale = False
        keys, places = [self._keys], [self._places]
        for name in self._names():
            if name in self._shards:
                continue
            table = self._load(name)
            if table.schema != self._schema:
                raise ArtifactError(f"{self.uri}: {name} holds other values than {self._schema.field('value').type}.")
            keys.append(_in_order(table.column("key")))
            places.append(np.stack([np.full(len(table), len(self._shards)), np.arange(len(table))], axis=1))
            self._shards.append(name)
        joined = np.concatenate(keys)
        order = np.argsort(joined, kind="stable")  # of equal keys the earlier answer counts
        self._keys, self._places = joined[order], np.concatenate(places)[order]

    def _look(self) -> None:
        if self._stale:
            self.refresh()

    def _names(self) -> list[str]:
        selector = pafs.FileSelector(self._path, allow_not_found=True)
        names = (info.base_name for info in self._filesystem.get_file_info(selector))
        return sorted(name for name in names if name.endswith(_SUFFIX))

    def _find(self, keys: pa.Array) -> Ints:
        """Position of every key in the sorted index, −1 where it is not there."""
        self._look()
        wanted = _in_order(keys)
        if not len(self._keys) or not len(wanted):
            return np.full(len(wanted), -1)
        at = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        return np.where(self._keys[at] == wanted, at, -1)

    def _load(self, name: str) -> pa.Table:
        path = posixpath.join(self._path, name)
        local = isinstance(self._filesystem, pafs.LocalFileSystem)
        source = pa.memory_map(path) if local else self._filesystem.open_input_file(path)
        return pa.ipc.open_file(source).read_all()


def _in_order(keys: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bytes_]:
    """View keys as bytes that sort; what numpy takes for padding (trailing zeros) is equal in equal keys alone."""
    return as_keys(keys).astype(">u8").view("S16")[:, 0]
