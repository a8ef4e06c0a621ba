"""What a task of the stage `own` does on its worker: rank the questions with one model."""

from collections.abc import Sequence

import torch

from polyglossa.own.questions import Questions
from polyglossa.own.ranking import Ranking, rank
from polyglossa.own.vectors import StoredVectors


def rank_questions(
    model: str, asked: Sequence[Questions], root: str, device: str, dtype: str, max_tokens: int | None, threads: int
) -> list[Ranking]:
    """Rank the documents of every task for its questions, with one model.

    Args:
        model: its directory.
        asked: questions by task.
        root: storage root, whose vector store is read and added to.
        device: torch device.
        dtype: precision.
        max_tokens: longest text; None takes the model's own limit.
        threads: torch threads.
    """
    torch.set_num_threads(threads)
    vectors = StoredVectors(model, root, device=device, dtype=dtype, max_tokens=max_tokens)
    return [rank(vectors.queries(one.queries), vectors.documents(one.documents), one) for one in asked]
