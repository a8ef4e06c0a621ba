"""Find keys in sorted runs on disk, in pieces: of an index of any size a process holds one key in 512 and file names.

A run is one file of ascending 16-byte keys with the shard and the row of each; runs are only ever added, each by one
atomic rename, and eight of a size become one. Any number of processes may add and search: two that add the same shards
write two runs that say the same.

500 million texts: 24 bytes each, 11.2 GiB on disk, in at most 7 runs of each of 3 sizes (2²⁰, 2²³, 2²⁶ keys) and the
last of 2²⁹; in memory 8 bytes for every 512th key (7.5 MiB) and 32 bytes for every shard (512 texts of 361 bytes each:
30 MiB). A search takes 8,192 keys at a time: it touches one page of each column and key, at most 128 MiB a run, and
lets go of them.
"""

import hashlib
import mmap
import os
import posixpath
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.fs as pafs

RUN_KEYS = 1 << 20
"""Keys of which a run is made."""
_MERGED = 8
_FENCE = 512  # keys between two that are in memory: a page of 8 bytes each
_SEARCHED = 8192
_SUFFIX = ".run"
_HEAD = np.dtype([("magic", "S8"), ("keys", "<u8"), ("shards", "<u8")])
_MAGIC = b"pg-run-1"
_NAME = np.dtype("S32")

Keys = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Names = npt.NDArray[np.bytes_]


@dataclass
class Run:
    """Ascending keys, and where each is."""

    names: Names
    """Shards, ascending."""
    high_N: Keys
    low_N: Keys
    shard_N: npt.NDArray[np.uint32]
    """Number among `names`; of equal keys the first name comes first."""
    row_N: npt.NDArray[np.uint32]
    fence: Keys
    """The high half of every 512th key."""
    mapped: mmap.mmap | None = None

    @classmethod
    def of(cls, names: Sequence[bytes] | Names, keys: Keys, shard: Ints, row: Ints) -> "Run":
        """Sort keys in memory.

        Args:
            names: of the shards.
            keys: [N, 2].
            shard: [N] number among the names.
            row: [N] row in the shard.
        """
        given = np.array(names, _NAME)
        sorted_names, rank = np.unique(given, return_inverse=True)
        shard = rank[shard]
        order = np.lexsort((shard, keys[:, 1], keys[:, 0]))
        high = keys[order, 0]
        return cls(
            sorted_names,
            high,
            keys[order, 1],
            shard[order].astype(np.uint32),
            row[order].astype(np.uint32),
            high[::_FENCE].copy(),
        )

    @classmethod
    def open(cls, path: str) -> "Run":
        """Map a file that `write` made."""
        with Path(path).open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)
        head = np.frombuffer(mapped, _HEAD, 1)[0]
        parts, offset = [], _HEAD.itemsize
        for dtype, count in _sections(int(head["keys"]), int(head["shards"])):
            parts.append(np.frombuffer(mapped, dtype, count, offset))
            offset += dtype.itemsize * count
        names, high, low, shard, row, fence = parts
        run = cls(names.copy(), high, low, shard, row, fence.copy(), mapped)
        run.release()
        return run

    def __len__(self) -> int:
        return len(self.high_N)

    def find(self, keys: Keys) -> Ints:
        """Place of each key [N, 2], ascending or not; −1 where it is not there."""
        place = self.lower_bound(keys)
        there = place < len(self)
        at = place[there]
        there[there] = (self.high_N[at] == keys[there, 0]) & (self.low_N[at] == keys[there, 1])
        return np.where(there, place, -1)

    def lower_bound(self, keys: Keys) -> Ints:
        """Place of the first key that is not smaller, for each [N, 2]."""
        high, low = keys[:, 0], keys[:, 1]
        first = (np.searchsorted(self.fence, high, "left") - 1).clip(min=0) * _FENCE
        last = np.minimum(np.searchsorted(self.fence, high, "right") * _FENCE, len(self))
        while (first < last).any():
            middle = (first + last) // 2
            at = np.minimum(middle, len(self) - 1)
            here = self.high_N[at]
            smaller = (first < last) & ((here < high) | ((here == high) & (self.low_N[at] < low)))
            first, last = np.where(smaller, middle + 1, first), np.where(smaller, last, np.minimum(middle, last))
        return first

    def release(self) -> None:
        """Let go of the pages that a search touched; they stay in the machine's cache."""
        if self.mapped is not None:
            self.mapped.madvise(mmap.MADV_DONTNEED)


def _sections(keys: int, shards: int) -> list[tuple[np.dtype[Any], int]]:
    eight, four = np.dtype("<u8"), np.dtype("<u4")
    return [(_NAME, shards), (eight, keys), (eight, keys), (four, keys), (four, keys), (eight, -(-keys // _FENCE))]


class Index:
    """The runs of a folder, and keys that are in none yet."""

    def __init__(self, filesystem: pafs.FileSystem, folder: str, run_keys: int = RUN_KEYS) -> None:
        self._filesystem, self._folder, self._run_keys = filesystem, folder, run_keys
        self._runs: dict[str, Run] = {}
        self._pending: list[tuple[bytes, Keys]] = []
        self._tail: Run | None = None

    def __len__(self) -> int:
        return sum(map(len, self._runs.values())) + sum(len(keys) for _, keys in self._pending)

    def refresh(self) -> None:
        """Take in the runs that were added, and leave those that became one."""
        for _ in range(_MERGED):
            there = self._names()
            try:
                new = {name: self._open(name) for name in there if name not in self._runs}
            except FileNotFoundError:  # merged by another process since it was listed
                continue
            self._runs = {name: run for name, run in (self._runs | new).items() if name in there}
            return
        raise FileNotFoundError(f"{self._folder}: its runs are replaced faster than they can be opened.")

    def covers(self, shards: Names) -> npt.NDArray[np.bool_]:
        """Tell which shards are in a run, or were added."""
        known = [run.names for run in self._runs.values()]
        return np.isin(shards, np.concatenate([np.array([name for name, _ in self._pending], _NAME), *known]))

    def add(self, shard: bytes, keys: Keys) -> None:
        """Add the keys [rows, 2] of a shard; what waits in memory becomes a run when there is enough."""
        self._pending.append((shard, keys))
        self._tail = None
        if sum(len(each) for _, each in self._pending) >= self._run_keys:
            run = self._pending_run()
            self._write(run.names, _parts([run], self._run_keys))
            self._pending = []
            self.refresh()
            self._merge()

    def shards(self) -> Names:
        """Names of all shards, as `find` numbers them."""
        return np.concatenate([np.empty(0, _NAME), *(run.names for run in self._all())])

    def find(self, keys: Keys) -> tuple[Ints, Ints]:
        """Find keys [N, 2]; returns the number among `shards()` and the row of each, −1 where it is not there."""
        shard, row = np.full(len(keys), -1), np.full(len(keys), -1)
        names, runs = self.shards(), [run for run in self._all() if len(run)]
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        for start in range(0, len(keys), _SEARCHED):
            some = order[start : start + _SEARCHED]
            before = 0
            for run in runs:
                place = run.find(keys[some])
                found = place >= 0
                number = np.where(found, before + run.shard_N[place.clip(min=0)].astype(np.int64), -1)
                held = shard[some]
                # The same text may have been stored by two processes: every reader takes the first name's.
                better = found & ((held < 0) | (names[number] < names[held]))
                shard[some[better]], row[some[better]] = number[better], run.row_N[place[better]]
                run.release()
                before += len(run.names)
        return shard, row

    def _all(self) -> list[Run]:
        if self._tail is None:
            self._tail = self._pending_run()
        return [*self._runs.values(), self._tail]

    def _pending_run(self) -> Run:
        keys = [each for _, each in self._pending]
        shard = np.repeat(np.arange(len(keys)), [len(each) for each in keys])
        row = np.concatenate([np.empty(0, np.int64), *(np.arange(len(each)) for each in keys)])
        joined = np.concatenate([np.empty((0, 2), np.uint64), *keys])
        return Run.of([name for name, _ in self._pending], joined, shard, row)

    def _merge(self) -> None:
        """Make one run of every eight of a size, small sizes first."""
        while True:
            sizes: dict[int, list[str]] = {}
            for name, run in sorted(self._runs.items()):
                sizes.setdefault(int(np.log2(max(1, len(run) / self._run_keys)) / np.log2(_MERGED)), []).append(name)
            full = next((names for _, names in sorted(sizes.items()) if len(names) >= _MERGED), None)
            if full is None:
                return
            runs = [self._runs[name] for name in full]
            self._write(np.unique(np.concatenate([run.names for run in runs])), _parts(runs, self._run_keys))
            for name in full:
                del self._runs[name]
                with suppress(FileNotFoundError):  # another process merged them too
                    self._filesystem.delete_file(posixpath.join(self._folder, name))
            self.refresh()

    def _write(self, names: Names, parts: Iterator[Run]) -> None:
        """Write runs that follow each other as one file, named after its shards and keys."""
        with ExitStack() as opened:
            columns = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(5)]
            keys = 0
            for part in parts:
                rank = np.searchsorted(names, part.names).astype(np.uint32)
                for stream, values in zip(
                    columns, (part.high_N, part.low_N, rank[part.shard_N], part.row_N), strict=False
                ):
                    stream.write(np.ascontiguousarray(values).tobytes())
                columns[4].write(part.high_N[-keys % _FENCE :: _FENCE].tobytes())
                keys += len(part)
            head = np.array([(_MAGIC, keys, len(names))], _HEAD)
            name = f"{hashlib.sha256(names.tobytes() + head.tobytes()).hexdigest()[:24]}{_SUFFIX}"
            self._filesystem.create_dir(self._folder, recursive=True)
            draft = posixpath.join(self._folder, f"{uuid.uuid4().hex}.part")
            with self._filesystem.open_output_stream(draft) as sink:
                sink.write(head.tobytes() + names.tobytes())
                for stream in columns:
                    stream.seek(0)
                    while piece := stream.read(1 << 22):
                        sink.write(piece)
            self._filesystem.move(draft, posixpath.join(self._folder, name))

    def _names(self) -> set[str]:
        selector = pafs.FileSelector(self._folder, allow_not_found=True)
        names = (info.base_name for info in self._filesystem.get_file_info(selector))
        return {name for name in names if name.endswith(_SUFFIX)}

    def _open(self, name: str) -> Run:
        """Map a run; one on remote storage is fetched once a node."""
        path = posixpath.join(self._folder, name)
        if isinstance(self._filesystem, pafs.LocalFileSystem):
            return Run.open(path)
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyglossa/runs"
        home.mkdir(parents=True, exist_ok=True)
        local = home / f"{hashlib.sha256(self._folder.encode()).hexdigest()[:16]}-{name}"
        if not local.exists():
            draft = home / uuid.uuid4().hex
            pafs.copy_files(
                path, str(draft), source_filesystem=self._filesystem, destination_filesystem=pafs.LocalFileSystem()
            )
            draft.rename(local)
        return Run.open(str(local))


def _parts(runs: Sequence[Run], most: int) -> Iterator[Run]:
    """Merge runs, about `most` keys at a time: ids are hashes, so equal spans of keys hold about as many."""
    count = max(1, -(-sum(map(len, runs)) // most))
    edges = np.array([number * 2**64 // count for number in range(1, count)], np.uint64)
    bounds = np.stack([edges, np.zeros_like(edges)], axis=1)
    cuts = [[0, *run.lower_bound(bounds).tolist(), len(run)] for run in runs]
    names = np.concatenate([run.names for run in runs])
    before = np.cumsum([0, *(len(run.names) for run in runs)])
    for number in range(count):
        spans = [slice(cut[number], cut[number + 1]) for cut in cuts]
        keys = np.concatenate(
            [np.stack([run.high_N[span], run.low_N[span]], axis=1) for run, span in zip(runs, spans, strict=True)]
        )
        shard = np.concatenate(
            [run.shard_N[span].astype(np.int64) + first for run, span, first in zip(runs, spans, before, strict=False)]
        )
        row = np.concatenate([run.row_N[span].astype(np.int64) for run, span in zip(runs, spans, strict=True)])
        yield Run.of(names, keys, shard, row)
        for run in runs:
            run.release()
