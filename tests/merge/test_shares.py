"""Validation of averages is dealt to workers by source; the score is the same however many there are."""

from polyglossa.merge.shares import deal_sources, mean_score


def test_sources_are_dealt_into_shares_of_like_size_and_none_is_lost() -> None:
    sources = {"a": 9, "b": 5, "c": 4, "d": 1}
    assert deal_sources(sources, 2) == [["a", "d"], ["b", "c"]]
    assert deal_sources(sources, 1) == [["a", "b", "c", "d"]]
    assert sorted(name for share in deal_sources(sources, 32) for name in share) == ["a", "b", "c", "d"]
    assert len(deal_sources(sources, 32)) == 4


def test_the_mean_is_the_same_to_the_last_bit_however_sources_were_dealt() -> None:
    scores = {f"s{index}": 1 / (3 + index) for index in range(50)}
    order = list(scores)
    for shares in (1, 2, 7, 50):
        dealt = [{name: scores[name] for name in share} for share in deal_sources(dict.fromkeys(scores, 1), shares)]
        assert mean_score(dealt, order) == mean_score([scores], order)
