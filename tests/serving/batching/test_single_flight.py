"""Protects a text that several requests share: what brings one request down is no answer to another."""

import asyncio

import numpy as np
import pytest

from polyglossa.serving.batching.single_flight import SingleFlight

KEY = b"k" * 16


def test_requests_at_the_same_time_share_an_item_and_it_is_forgotten_when_it_has_arrived() -> None:
    async def ask() -> None:
        flight = SingleFlight(0)
        (first,), fresh = flight.join([KEY])
        (second,), none = flight.join([KEY])
        assert first is second
        assert (fresh, none) == ([0], [])
        flight.arrived(first, np.ones(2))
        await asyncio.sleep(0)
        assert len(flight) == 0

    asyncio.run(ask())


@pytest.mark.parametrize("end", ["failed", "left"])
def test_an_item_that_another_request_has_just_brought_down_is_not_joined(end: str) -> None:
    async def ask() -> None:
        flight = SingleFlight(0)
        (old,), _ = flight.join([KEY])
        if end == "failed":
            old.state.set_exception(ValueError("too many tokens"))
            old.state.exception()
        else:
            flight.leave([old])
        (new,), fresh = flight.join([KEY])  # before the loop has turned once
        assert new is not old
        assert fresh == [0]
        await asyncio.sleep(0)
        assert len(flight) == 1, "the old item's end takes the new one off"
        flight.arrived(new, np.ones(2))
        assert (await new.state).tolist() == [1, 1]

    asyncio.run(ask())
