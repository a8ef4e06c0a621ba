"""Protects the examples and the doubtful rows: who gained, what each model finds first, labels that both rank low."""

import json
import re

import numpy as np

from polyglossa.own.examples import doubtful_labels, examples
from polyglossa.own.page import render_own
from polyglossa.own.questions import Questions
from polyglossa.own.ranking import rank

DOCUMENTS = tuple(f"document {place}" for place in range(4))


def unit(rows: list[list[float]]) -> np.ndarray:
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def asked(*relevant: tuple[int, ...]) -> Questions:
    return Questions("faq", tuple(f"query {row}" for row in range(len(relevant))), len(relevant), DOCUMENTS, relevant)


def test_a_rank_counts_the_documents_above_the_best_right_one() -> None:
    documents = unit([[1, 0], [1, 0.5], [0, 1], [-1, -0.1]])
    found = rank(unit([[1.0, 0.1], [0.1, 1.0]]), documents, asked((1, 3), (3,)))
    assert found.rank_Q.tolist() == [2, 4]
    assert found.first_QK[1, 0] == 2


def test_a_labelled_text_does_not_find_itself() -> None:
    questions = Questions("topics", ("a", "b"), 0, ("a", "b", "c"), ((2,), ()), ("x", "y", "x"), ("x", "y"))
    vectors = unit([[1, 0], [1, 0.1], [0, 1]])
    found = rank(vectors[:2], vectors, questions)
    assert found.first_QK[:, 0].tolist() == [1, 0]
    assert found.rank_Q.tolist() == [2, 0]


def test_queries_are_picked_by_the_change_of_their_score() -> None:
    questions = asked((0,), (0,), (0,))
    low, high = unit([[0, 1]] * 3), unit([[1, 0]] * 3)
    documents = unit([[1, 0], [0, 1], [-1, 0], [0, -1]])
    shown = examples(
        questions,
        rank(low, documents, questions),
        rank(high, documents, questions),
        [0.4, 0.5, 1.0],
        [1.0, 0.5, 0.2],
        20,
    )
    assert [row["query"] for row in shown["gained"]] == ["query 0"]
    assert [row["query"] for row in shown["lost"]] == ["query 2"]
    gained = shown["gained"][0]
    assert (gained["before"]["found"][0], gained["after"]["found"][0]) == ("document 1", "document 0")
    assert (gained["before"]["rank"], gained["after"]["rank"], gained["after"]["is_right"][0]) == (2, 1, True)


def test_an_answer_is_doubtful_where_both_models_rank_it_low() -> None:
    questions = asked((3,), (3,), (0,))
    documents = unit([[1, 0], [1, 0.1], [1, 0.2], [-1, 0]])
    away, near = unit([[1, 0.1]] * 3), unit([[1, 0.1], [-1, 0], [1, 0.1]])
    rows = doubtful_labels(questions, rank(away, documents, questions), rank(near, documents, questions), 3)
    assert [(row["query"], row["rank_before"], row["rank_after"]) for row in rows] == [("query 0", 4, 4)]


def test_the_page_carries_its_data_and_no_text_ends_its_script() -> None:
    data = {
        "member": "tuned", "start": "MiniLM", "tasks": {}, "elsewhere": {}, "proposal": None, "examples": {},
        "doubtful": {"label": [{"query": "</script><b>"}], "several_answers": [], "repeated": []},
    }  # fmt: skip
    page = render_own(data)
    carried = re.search(r'<script id="own-data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert carried is not None
    assert json.loads(carried.group(1)) == data
    assert "{{" not in page
