"""Cut texts into packed forward passes: neighbours of like length, common beginnings once.

Queries of a task share their instruction, and of a short query behind one four fifths of the tokens are that
instruction. Where no token sees what follows it, its keys and values serve every text of the pass. Pure functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_LEAST_SHARED = 8  # tokens; a shorter beginning is not worth a pass of its own
_LEAST_TEXTS = 16


@dataclass(frozen=True)
class Pass:
    """One forward pass."""

    texts: list[int]
    """Indices of the texts."""
    parts: list[Sequence[int]]
    """Token ids that go through the model, end to end: the shared beginning if there is one, then each text's own."""
    shared: bool
    """Whether the first part is the beginning of all others."""


def plan_passes(token_ids: Sequence[Sequence[int]], budget: int, *, share: bool) -> list[Pass]:
    """Cut tokenised texts into passes.

    Args:
        token_ids: tokens of each text.
        budget: most tokens of a pass; a longer text is a pass of its own.
        share: whether beginnings that many texts share may be taken out.

    Returns:
        Passes that hold every text once, longest texts first within each group.
    """
    groups, rest = shared_beginnings(token_ids) if share else ([], list(range(len(token_ids))))
    passes = [
        Pass([rest[index] for index in rows], [token_ids[rest[index]] for index in rows], False)
        for rows in cut_passes([len(token_ids[index]) for index in rest], budget)
    ]
    for length, indices in groups:
        beginning = token_ids[indices[0]][:length]
        own = [token_ids[index][length:] for index in indices]
        passes += [
            Pass([indices[row] for row in rows], [beginning, *(own[row] for row in rows)], True)
            for rows in cut_passes([len(part) for part in own], max(budget - length, 1))
        ]
    return passes


def cut_passes(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut texts into passes, neighbours being of like length.

    Args:
        lengths: tokens of each text.
        budget: most tokens of a pass; a longer text is a pass of its own.

    Returns:
        Passes of indices into `lengths`, longest texts first; equal lengths keep their order.

    Raises:
        ValueError: the budget is not positive.
    """
    if budget < 1:
        raise ValueError(f"budget: {budget} is not ≥ 1 token")
    passes: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if lengths[index] > room or not passes:
            passes.append([])
            room = budget
        passes[-1].append(index)
        room -= lengths[index]
    return passes


def shared_beginnings(token_ids: Sequence[Sequence[int]]) -> tuple[list[tuple[int, list[int]]], list[int]]:
    """Group texts by a common beginning.

    Args:
        token_ids: tokens of each text.

    Returns:
        Groups of (tokens shared, indices of the texts), and the indices of all other texts. At least one token of
        every text remains behind the shared ones.
    """
    by_start: dict[tuple[int, ...], list[int]] = {}
    for index, tokens in enumerate(token_ids):
        by_start.setdefault(tuple(tokens[:_LEAST_SHARED]), []).append(index)
    groups: list[tuple[int, list[int]]] = []
    rest: list[int] = []
    for start, indices in by_start.items():
        if len(indices) < _LEAST_TEXTS or len(start) < _LEAST_SHARED:
            rest += indices
            continue
        # What the first and the last in order share, all share; the last token is never among it.
        low, high = (pick(list(token_ids[index][:-1]) for index in indices) for pick in (min, max))
        shared = next(
            (at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(map(len, (low, high)))
        )
        if shared < _LEAST_SHARED:
            rest += indices
            continue
        groups.append((shared, indices))
    return groups, sorted(rest)
