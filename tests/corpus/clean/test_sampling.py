"""Protects the shares of languages: caps are exact, and a temperature evens them out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from polyglossa.corpus.clean.sampling import quotas, threshold
from polyglossa.recipe.sections.corpus import SamplingConfig

COUNTS = st.dictionaries(st.sampled_from(["eng", "deu", "zho", "swh", "und"]), st.integers(1, 5000), min_size=1)


@given(COUNTS, st.none() | st.integers(1, 8000), st.floats(1, 10), st.floats(0.01, 1))
def test_the_room_is_used_up_exactly_and_nobody_gets_more_than_it_has(
    counts: dict[str, int], cap: int | None, temperature: float, keep: float
) -> None:
    got = quotas(counts, cap, SamplingConfig(keep_share=keep, temperature=temperature))
    available = sum(counts.values())
    assert sum(got.values()) == min(available, cap or available, round(available * keep))
    assert all(0 <= got[name] <= counts[name] for name in counts)


def test_temperature_one_keeps_shares_and_higher_ones_even_them_out() -> None:
    counts = {"eng": 9000, "deu": 900, "swh": 100}
    assert quotas(counts, 1000, SamplingConfig()) == {"eng": 900, "deu": 90, "swh": 10}
    even = quotas(counts, 1000, SamplingConfig(temperature=1000.0))
    assert even["swh"] == 100
    assert abs(even["eng"] - even["deu"]) <= 5
    warm = quotas(counts, 1000, SamplingConfig(temperature=2.0))
    assert even["eng"] < warm["eng"] < 900


def test_a_threshold_keeps_as_many_hashes_as_it_should() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, 1000, dtype=np.uint64)
    for quota in (0, 1, 10, 999, 1000, 2000):
        assert int((hashes <= threshold(hashes, quota)).sum() if quota else 0) == min(quota, 1000)
    assert threshold(hashes, 0) == -1
