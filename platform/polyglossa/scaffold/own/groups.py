"""Group rows that must stay on one side of a split: one query, one passage, near copies of either, one group. Pure."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import coo_array  # type: ignore[import-untyped]  # ships no types
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]  # ships no types

from polyglossa.corpus.clean.near import (
    band_hashes,
    candidate_edges,
    least_estimate,
    signatures,
    sketches,
    verify_edges,
)
from polyglossa.corpus.clean.text import fold
from polyglossa.recipe.sections.corpus import NearDuplicatesConfig

Ints = npt.NDArray[np.int64]
NEAR = NearDuplicatesConfig(similarity=0.85)
_CATEGORY = 0.05
"""Share of all rows; a value of the group column that more of them have is a category, not a passage."""
_LEAST_CHARACTERS = 25
"""Near copies are looked for among texts of this length: of shorter ones, other questions are a letter apart."""


def group_rows(table: pa.Table, *, by_label: bool) -> Ints:
    """Number the group of every row.

    Args:
        table: `OWN_ROW`.
        by_label: whether the rows are labelled text, whose labels are shared by design and tie nothing.

    Returns:
        [rows] numbers from 0, equal for rows that must not be parted.
    """
    count = table.num_rows
    texts: dict[str, int] = {}
    edges: list[tuple[int, int]] = []  # row, text
    for row, (query, positives) in enumerate(zip(*(table[n].to_pylist() for n in ("query", "positives")), strict=True)):
        for text in (query, *(positives or ())):
            edges.append((row, texts.setdefault(fold(text), len(texts))))
    tied = [(row, count + text) for row, text in edges]
    tied += [(count + one, count + other) for one, other in near_copies(list(texts))]
    if not by_label:
        tied += _of_groups(table["group"].to_pylist(), max(20, int(_CATEGORY * count)))
    return _components(tied, count, count + len(texts))


def near_copies(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Find pairs of texts whose 5-grams overlap by 85 % or more."""
    places = [place for place, text in enumerate(texts) if len(text) >= _LEAST_CHARACTERS]
    if len(places) < 2:
        return []
    values = signatures([texts[place] for place in places], NEAR)
    bands = band_hashes(values, values, NEAR)
    nodes = np.repeat(np.arange(len(places), dtype=np.uint64), NEAR.bands)
    found = candidate_edges(bands.ravel(), nodes).astype(np.int64)
    sketch = sketches(values)
    kept = found[verify_edges(found, sketch, sketch, least_estimate(NEAR))]
    return [(places[one], places[other]) for one, other in kept.tolist()]


def _of_groups(groups: Iterable[Hashable | None], most: int) -> list[tuple[int, int]]:
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        if group is not None:
            members[group].append(row)
    return [(rows[0], row) for rows in members.values() if len(rows) <= most for row in rows[1:]]


def _components(edges: Sequence[tuple[int, int]], rows: int, nodes: int) -> Ints:
    ends = np.array(edges, np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(nodes, nodes))
    _, label = connected_components(graph, directed=False)
    _, numbers = np.unique(label[:rows], return_inverse=True)
    return numbers.astype(np.int64)
