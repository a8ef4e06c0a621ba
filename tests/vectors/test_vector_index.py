"""The index of a store lies in sorted runs on disk: searched in pieces, whoever wrote them, however many there are.

Protects promise 10 of the design: what a process holds does not grow with the texts that are stored.
"""

from pathlib import Path

import numpy as np
import psutil
import pyarrow.fs as pafs
import pytest

from polyglossa.records import text_id
from polyglossa.vector_index import Index, Run
from polyglossa.vectors import VectorStore

LOCAL = pafs.LocalFileSystem()


def keys_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2), np.uint64)


def filled(folder: Path, keys: np.ndarray, shards: int, run_keys: int) -> Index:
    index = Index(LOCAL, str(folder), run_keys)
    index.refresh()
    for number, part in enumerate(np.array_split(keys, shards)):
        index.add(f"shard-{number:04}".encode(), part)
    return index


@pytest.mark.parametrize("run_keys", [10, 100, 10_000])
def test_every_key_is_found_where_it_was_put_and_no_other(tmp_path: Path, run_keys: int) -> None:
    keys = keys_of(1000)
    keys[500:600, 0] = keys[0, 0]  # ids that share their first half
    index = filled(tmp_path, keys, 40, run_keys)
    again = Index(LOCAL, str(tmp_path), run_keys)  # another process sees what lies in runs
    again.refresh()
    assert len(index) == 1000
    assert len(again) % run_keys == 0 or len(again) > 0
    order = np.random.default_rng(1).permutation(1000)
    shard, row = index.find(np.concatenate([keys[order], keys_of(50, seed=9)]))
    assert (shard[1000:] == -1).all()
    parts = np.array_split(keys, 40)
    for number, place in zip(order[:200].tolist(), range(200), strict=True):
        name = index.shards()[shard[place]].decode()
        assert (parts[int(name[-4:])][row[place]] == keys[number]).all()


def test_eight_runs_of_a_size_become_one(tmp_path: Path) -> None:
    filled(tmp_path, keys_of(6400), 64, 100)
    assert len(list(tmp_path.glob("*.run"))) == 1
    filled(tmp_path / "more", keys_of(6500), 65, 100)
    assert len(list((tmp_path / "more").glob("*.run"))) == 2
    assert not list(tmp_path.rglob("*.part"))


def test_a_text_that_two_processes_stored_is_read_from_the_same_shard_by_all(tmp_path: Path) -> None:
    keys = keys_of(30)
    index = Index(LOCAL, str(tmp_path), 10)
    for name, part in ((b"b", keys[:20]), (b"a", keys[5:15]), (b"c", keys)):
        index.add(name, part)
    shard, _ = index.find(keys)
    names = index.shards()[shard]
    assert names[5:15].tolist() == [b"a"] * 10
    assert names[:5].tolist() == [b"b"] * 5
    assert names[20:].tolist() == [b"c"] * 10


def test_a_store_of_many_runs_gives_the_same_vectors(tmp_path: Path) -> None:
    states = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    ids = [text_id(f"text {number}") for number in range(300)]
    store = VectorStore(str(tmp_path), "abc", run_keys=40)
    for start in range(0, 300, 10):
        store.append(ids[start : start + 10], states[start : start + 10])
        store.refresh()
    assert list(Path(store.uri, "index").glob("*.run"))
    order = np.random.default_rng(1).permutation(300)
    for reader in (store, VectorStore(str(tmp_path), "abc"), VectorStore(str(tmp_path), "abc", run_keys=7)):
        np.testing.assert_array_equal(reader.read([ids[i] for i in order], normalise=False), states[order])
        assert len(reader) == 300


def test_a_run_that_another_process_merged_meanwhile_is_not_missed(tmp_path: Path) -> None:
    keys = keys_of(800)
    first = Index(LOCAL, str(tmp_path), 100)
    first.add(b"s0", keys[:100])
    reader = Index(LOCAL, str(tmp_path), 100)
    reader.refresh()
    for number in range(1, 8):
        first.add(f"s{number}".encode(), keys[100 * number : 100 * (number + 1)])
    assert (reader.find(keys[:100])[0] >= 0).all()  # the file is gone, what is mapped stays
    reader.refresh()
    assert (reader.find(keys)[0] >= 0).all()
    assert len(list(tmp_path.glob("*.run"))) == 1


def test_lower_bounds_are_those_of_a_search_in_memory() -> None:
    keys = keys_of(5000)
    run = Run.of([b"a"], keys, np.zeros(5000, np.int64), np.arange(5000))
    asked = np.concatenate([keys_of(500, seed=3), keys[:500]])
    expected = np.searchsorted(np.sort(keys[:, 0]), asked[:, 0])
    assert run.lower_bound(asked).tolist() == expected.tolist()


@pytest.mark.slow
def test_ten_million_keys_are_searched_in_little_memory(tmp_path: Path) -> None:
    names = [f"shard-{number:04}".encode() for number in range(100)]
    index = Index(LOCAL, str(tmp_path))
    index.refresh()
    for number, name in enumerate(names):
        index.add(name, keys_of(100_000, seed=number))
    reader = Index(LOCAL, str(tmp_path))
    reader.refresh()
    before = psutil.Process().memory_full_info().pss
    for number in (0, 50, 90):
        keys = keys_of(100_000, seed=number)
        shard, row = reader.find(keys)
        assert (reader.shards()[shard] == names[number]).all()
        assert row.tolist() == list(range(100_000))
        assert (reader.find(keys_of(100_000, seed=1000 + number))[0] == -1).all()
    assert psutil.Process().memory_full_info().pss - before < 64 * 2**20  # all keys take 229 MiB
