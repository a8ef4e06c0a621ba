"""Decide which groups of rows judge, which validate and which train. Pure: groups and strata in, a side per row out."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

SHARE = 0.1
LEAST, MOST = 200, 1000
"""Held-out queries: at least 200 where there are 2,000, at most 1,000."""
LEAST_TO_JUDGE = 20
_SMALL_SHARE = 0.2  # of few queries, at most this share is held out
_VALIDATION_SHARE, _MOST_VALIDATION = 0.04, 400
_LARGE = 0.05
"""Share of all queries; a group that holds more of them trains as a whole: held out, it would be most of the test."""


@dataclass(frozen=True)
class Sides:
    """A side for every row."""

    side: tuple[str, ...]
    """`heldout`, `validation`, `train`, or `dropped`: tied to held-out rows of a split that the file itself makes."""
    given: bool
    """Whether the file itself says what is held out."""

    def count(self, side: str) -> int:
        """Rows of a side."""
        return self.side.count(side)


def wanted_queries(queries: int) -> int:
    """How many queries are held out of so many."""
    return min(MOST, max(round(SHARE * queries), min(LEAST, int(_SMALL_SHARE * queries))))


def split_rows(
    groups: Sequence[int],
    queries: Sequence[str],
    strata: Sequence[str],
    given: Sequence[str | None],
    *,
    fixed: frozenset[str] = frozenset(),
    seed: int = 0,
) -> Sides:
    """Split rows by group.

    Args:
        groups: group of each row.
        queries: query of each row; what is counted.
        strata: source and language of each row; each gives its share.
        given: split that the file itself says, None where it says none.
        fixed: queries that an earlier split held out; their groups stay so.
        seed: salt of the choice.
    """
    if "heldout" in given:
        return _as_given(groups, given)
    by_group: defaultdict[int, set[str]] = defaultdict(set)
    stratum: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for group, query, kind in zip(groups, queries, strata, strict=True):
        by_group[group].add(query)
        stratum[group][kind] += 1
    total = len(set(queries))
    kinds = {group: min(found, key=lambda kind: (-found[kind], kind)) for group, found in stratum.items()}
    held = {group for group, found in by_group.items() if found & fixed}
    small = [group for group, found in by_group.items() if len(found) <= max(3, _LARGE * total)]
    order = sorted(small, key=lambda group: _draw(by_group[group], seed))
    wanted = wanted_queries(total)
    held |= _take(order, by_group, kinds, wanted, held)
    rest = [group for group in order if group not in held]
    validation = _take(rest, by_group, kinds, min(_MOST_VALIDATION, round(_VALIDATION_SHARE * total)), set())
    side = ["heldout" if g in held else "validation" if g in validation else "train" for g in groups]
    return Sides(tuple(side), given=False)


def _as_given(groups: Sequence[int], given: Sequence[str | None]) -> Sides:
    """The file's own split; rows that are tied to what it holds out are left out of training."""
    held = {group for group, split in zip(groups, given, strict=True) if split == "heldout"}
    side = [
        "heldout" if split == "heldout" else "dropped" if group in held else split or "train"
        for group, split in zip(groups, given, strict=True)
    ]
    return Sides(tuple(side), given=True)


def _take(
    order: Sequence[int],
    by_group: dict[int, set[str]],
    kinds: dict[int, str],
    wanted: int,
    taken: set[int],
) -> set[int]:
    """Take groups in order until every stratum has its share of the wanted queries."""
    sizes: Counter[str] = Counter()
    for group, found in by_group.items():
        sizes[kinds[group]] += len(found)
    total = sum(sizes.values())
    room = {kind: round(wanted * size / total) for kind, size in sizes.items()}
    for group in taken:
        room[kinds[group]] -= len(by_group[group])
    chosen: set[int] = set()
    for group in order:
        kind = kinds[group]
        if group not in taken and room[kind] > 0:
            chosen.add(group)
            room[kind] -= len(by_group[group])
    return chosen


def _draw(queries: set[str], seed: int) -> int:
    return xxhash.xxh3_64_intdigest(min(queries).encode("utf-8", "surrogatepass"), seed)
