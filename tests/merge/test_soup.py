"""A greedy soup takes models in order of quality and keeps each that does not make the average worse."""

from collections.abc import Sequence

from polyglossa.merge.soup import greedy_soup


def test_models_join_while_the_average_gets_no_worse() -> None:
    answers = {(1, 2): 0.7, (1, 2, 0): 0.6, (1, 2, 3): 0.7}
    soup = greedy_soup([0.5, 0.65, 0.6, 0.1], lambda chosen: answers[tuple(chosen)])
    assert soup.ingredients == (1, 2, 3)
    assert soup.score == 0.7
    assert [tried for tried, _ in soup.trials] == [(1, 2), (1, 2, 0), (1, 2, 3)]


def test_where_no_average_helps_the_best_model_is_left_alone() -> None:
    soup = greedy_soup([0.2, 0.9, 0.8], lambda chosen: 0.5)
    assert soup.ingredients == (1,)
    assert soup.score == 0.9


def test_the_soup_is_never_worse_than_the_best_model() -> None:
    def judge(chosen: Sequence[int]) -> float:
        return sum((index * 7919) % 13 for index in chosen) / 20

    scores = [judge([index]) for index in range(6)]
    assert greedy_soup(scores, judge).score >= max(scores)
