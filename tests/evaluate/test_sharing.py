"""Texts of one large call are embedded by all workers, give the same states whoever did, and wait for nobody."""

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.evaluate.exchange import Exchange
from polyglossa.evaluate.models.states import Floats, StateTable, StoredEmbed
from polyglossa.evaluate.shared_embed import SharedEmbed, cut_parts
from polyglossa.vectors import VectorStore

TEXTS = [f"{'word ' * (number % 90 + 1)}{number}" for number in range(2000)]


class Model:
    """Embeds a text as its length, and the number of texts it was given."""

    def __init__(self, fails: bool = False) -> None:
        self.texts: list[str] = []
        self.fails = fails

    def __call__(self, texts: list[str]) -> Floats:
        if self.fails:
            raise RuntimeError("lost")
        self.texts += texts
        return np.array([[len(text), hash(text) % 97, 1] for text in texts], np.float32)


@given(st.lists(st.integers(0, 200_000), max_size=300))
def test_every_text_is_in_one_part_and_the_longest_come_first(characters: list[int]) -> None:
    parts = cut_parts(characters)
    assert sorted(index for part in parts for index in part) == list(range(len(characters)))
    assert all(len(part) <= 512 for part in parts)
    lengths = [characters[index] for part in parts for index in part]
    assert lengths == sorted(lengths, reverse=True)


def test_states_are_those_of_one_worker_alone() -> None:
    exchange, alone = Exchange(), SharedEmbed(Model(), None)(TEXTS)
    owner, helper = Model(), Model()
    helping = SharedEmbed(helper, exchange)
    done = threading.Event()

    def help_until_done() -> None:
        while not done.is_set():
            helping.help()

    thread = threading.Thread(target=help_until_done)
    thread.start()
    shared = SharedEmbed(owner, exchange)(TEXTS)
    done.set()
    thread.join()
    assert np.array_equal(shared, alone)
    assert np.array_equal(SharedEmbed(Model(), None)(TEXTS[:1]), Model()(TEXTS[:1]))


def test_parts_that_a_helper_took_and_never_returned_are_embedded_by_the_owner() -> None:
    exchange, owner = Exchange(), Model()

    class Thief(Model):
        def __call__(self, texts: list[str]) -> Floats:
            exchange.take()  # someone takes a part and is never seen again
            return super().__call__(texts)

    thief = Thief()
    assert np.array_equal(SharedEmbed(thief, exchange)(TEXTS), SharedEmbed(owner, None)(TEXTS))
    assert sorted(thief.texts) == sorted(TEXTS)
    assert exchange.take() is None


def test_a_helper_that_fails_leaves_its_part_to_the_owner() -> None:
    exchange, parts = Exchange(), [[f"{number}"] for number in range(3)]
    first, found = exchange.post("call", "owner", parts)
    assert (first, found) == (0, {})
    with pytest.raises(RuntimeError):
        SharedEmbed(Model(fails=True), exchange).help()
    assert exchange.next("call", "owner", 0, "states") == (2, {})
    assert exchange.next("call", "owner", 2, "states") == (None, {})


def test_owners_of_the_same_texts_share_one_call() -> None:
    exchange, parts = Exchange(), [["a"], ["b"], ["c"]]
    assert exchange.post("call", "one", parts) == (0, {})
    assert exchange.post("call", "two", parts) == (1, {})
    assert exchange.next("call", "one", 0, "A") == (2, {})
    assert exchange.next("call", "two", 1, "B") == (None, {0: "A"})
    assert exchange.next("call", "one", 2, "C") == (None, {1: "B"})
    exchange.close("call", "one")
    assert exchange.post("call", "three", parts) == (None, {0: "A", 1: "B", 2: "C"})


def test_nothing_is_embedded_twice_where_a_store_is(tmp_path: Path) -> None:
    first, second = Model(), Model()

    def states(model: Model) -> Floats:
        store = VectorStore(str(tmp_path), "model")
        return StateTable(StoredEmbed(SharedEmbed(model, Exchange()), store, lambda: None))(TEXTS)

    assert np.array_equal(states(first), states(second))
    assert sorted(first.texts) == sorted(TEXTS)
    assert second.texts == []
