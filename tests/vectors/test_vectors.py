"""The vector store: nothing is embedded twice, nothing half-written is seen, no bad vector comes out.

Protects promises 4 and 6 of the design.
"""

import numpy as np
import pytest

from polyglossa.artifact import open_storage
from polyglossa.errors import ArtifactError
from polyglossa.records import text_id
from polyglossa.vectors import VectorStore, as_keys, finish


def ids_of(count: int, prefix: str = "text") -> list[bytes]:
    return [text_id(f"{prefix} {number}") for number in range(count)]


@pytest.fixture
def states() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)


def test_states_come_back_in_the_order_asked_across_shards(tmp_path, states):
    store, ids = VectorStore(str(tmp_path), "abc"), ids_of(50)
    store.append(ids[:20], states[:20])
    store.append(ids[20:], states[20:])
    order = np.random.default_rng(1).permutation(50)
    raw = store.read([ids[i] for i in order], normalise=False)
    np.testing.assert_array_equal(raw, states[order])


def test_readers_truncate_first_and_normalise_then(tmp_path, states):
    store = VectorStore(str(tmp_path), "abc")
    store.append(ids_of(50), states)
    vectors = store.read(ids_of(50), width=3)
    np.testing.assert_allclose(vectors, states[:, :3] / np.linalg.norm(states[:, :3], axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(vectors, finish(states, 3))


def test_another_process_sees_what_was_added(tmp_path, states):
    writer, reader = VectorStore(str(tmp_path), "abc"), VectorStore(str(tmp_path), "abc")
    assert len(reader) == 0
    writer.append(ids_of(50), states)
    reader.refresh()
    assert len(reader) == 50
    assert reader.width == 8


def test_holds_says_which_texts_are_missing(tmp_path, states):
    store = VectorStore(str(tmp_path), "abc")
    assert not store.holds(ids_of(3)).any()
    store.append(ids_of(50), states)
    assert store.holds([*ids_of(2), text_id("unknown")]).tolist() == [True, True, False]


def test_ids_that_share_their_first_half_are_told_apart(tmp_path, states):
    ids = [b"\x07" * 8 + number.to_bytes(8, "big") for number in range(50)]
    store = VectorStore(str(tmp_path), "abc")
    store.append(ids[10:40], states[10:40])
    assert store.holds(ids).tolist() == [10 <= number < 40 for number in range(50)]
    np.testing.assert_array_equal(store.read(ids[10:40], normalise=False), states[10:40])


def test_not_finite_and_zero_states_are_refused_one_flag_per_row(tmp_path, states):
    states[3, 2], states[7, 0], states[9] = np.nan, np.inf, 0
    store = VectorStore(str(tmp_path), "abc")
    refused = store.append(ids_of(50), states)
    assert np.flatnonzero(refused).tolist() == [3, 7, 9]
    assert not store.holds(ids_of(50))[[3, 7, 9]].any()
    with pytest.raises(ArtifactError, match="1 of 2 texts are not stored"):
        store.read([text_id("text 0"), text_id("text 3")])


def test_a_width_change_under_a_fingerprint_is_refused(tmp_path, states):
    store = VectorStore(str(tmp_path), "abc")
    store.append(ids_of(50), states)
    with pytest.raises(ArtifactError, match="width 4, and this fingerprint stores width 8"):
        VectorStore(str(tmp_path), "abc").append(ids_of(50, "other"), states[:, :4])
    with pytest.raises(ArtifactError, match="width 9 was asked"):
        store.read(ids_of(2), width=9)


def test_half_written_shards_are_not_seen(tmp_path, states):
    store = VectorStore(str(tmp_path), "abc")
    store.append(ids_of(50), states)
    (tmp_path / "vectors" / "abc" / "dead.part").write_bytes(b"half")
    assert len(VectorStore(str(tmp_path), "abc")) == 50


def test_the_same_append_twice_leaves_one_shard(tmp_path, states):
    for _ in range(2):
        VectorStore(str(tmp_path), "abc").append(ids_of(50), states)
    assert len(list((tmp_path / "vectors" / "abc").iterdir())) == 1


def test_fingerprints_do_not_see_one_another(tmp_path, states):
    VectorStore(str(tmp_path), "abc").append(ids_of(50), states)
    assert len(VectorStore(str(tmp_path), "def")) == 0


def test_a_store_may_lie_behind_a_uri(tmp_path, states):
    store = VectorStore(f"file://{tmp_path}", "abc")
    store.append(ids_of(50), states)
    assert open_storage(store.uri)[1] == f"{tmp_path}/vectors/abc"
    np.testing.assert_array_equal(store.read(ids_of(50), normalise=False), states)


def test_keys_order_like_the_bytes():
    ids = sorted(ids_of(200))
    keys = as_keys(ids)
    assert np.lexsort((keys[:, 1], keys[:, 0])).tolist() == list(range(200))
