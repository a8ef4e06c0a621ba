"""Queries that convince: those that gained most and lost most, and rows whose labels look wrong. Pure."""

from collections.abc import Sequence
from typing import Any

from polyglossa.own.questions import Questions
from polyglossa.own.ranking import Ranking

NEIGHBOUR_RANK = 10
"""Of labelled text: a label is doubtful where none of so many nearest texts has it."""
_SHOWN_ANSWERS = 3


def examples(
    questions: Questions,
    before: Ranking,
    after: Ranking,
    scores_before: Sequence[float],
    scores_after: Sequence[float],
    count: int,
) -> dict[str, list[dict[str, Any]]]:
    """Pick held-out queries by how much their score changed; of equal changes, by how far the right answer moved.

    Args:
        questions: the queries.
        before: what the model found as it came.
        after: what it finds now.
        scores_before: score of each held-out query, as evaluated.
        scores_after: likewise.
        count: queries of each kind, at most.

    Returns:
        `gained` and `lost`: {"query", "right", "before", "after"} where the two have "score", "rank" and "found".
    """
    changes = [after - before for after, before in zip(scores_after, scores_before, strict=True)]
    moved = [int(before.rank_Q[row]) - int(after.rank_Q[row]) for row in range(len(changes))]
    order = sorted(range(len(changes)), key=lambda row: (-changes[row], -moved[row], row))

    def shown(row: int) -> dict[str, Any]:
        return {
            "query": questions.queries[row],
            "right": _right(questions, row),
            "before": {"score": scores_before[row], **_found(questions, before, row)},
            "after": {"score": scores_after[row], **_found(questions, after, row)},
        }

    gained = [shown(row) for row in order[:count] if changes[row] > 0]
    lost = [shown(row) for row in reversed(order[-count:]) if changes[row] < 0]
    return {"gained": gained, "lost": lost}


def doubtful_labels(questions: Questions, before: Ranking, after: Ranking, rank: int) -> list[dict[str, Any]]:
    """List rows whose answers both models rank below a rank, the lowest ranked first.

    Args:
        questions: held-out queries and those that were trained on.
        before: of the model as it came.
        after: of the model now.
        rank: of searches; labelled text has `NEIGHBOUR_RANK`.
    """
    limit = min(rank, NEIGHBOUR_RANK) if questions.is_labelled else rank
    rows = [
        row
        for row in range(len(questions.queries))
        if before.rank_Q[row] > limit and after.rank_Q[row] > limit and questions.relevant[row]
    ]
    rows.sort(key=lambda row: -int(after.rank_Q[row] + before.rank_Q[row]))
    return [
        {
            "task": questions.task,
            "kind": "label",
            "part": "heldout" if row < questions.heldout else "train",
            "query": questions.queries[row],
            "answers": _right(questions, row),
            "rank_before": int(before.rank_Q[row]),
            "rank_after": int(after.rank_Q[row]),
            "found_before": _found(questions, before, row)["found"][0],
            "found_after": _found(questions, after, row)["found"][0],
        }
        for row in rows
    ]


def _right(questions: Questions, row: int) -> list[str]:
    if questions.is_labelled:
        return [questions.query_labels[row]]
    return [questions.documents[place] for place in questions.relevant[row][:_SHOWN_ANSWERS]]


def _found(questions: Questions, ranking: Ranking, row: int) -> dict[str, Any]:
    places = ranking.first_QK[row].tolist()
    texts = [questions.documents[place] for place in places]
    if questions.is_labelled:
        texts = [f"{questions.labels[place]}: {questions.documents[place]}" for place in places]
    right = [place in questions.relevant[row] for place in places]
    return {"rank": int(ranking.rank_Q[row]), "found": texts, "is_right": right}
