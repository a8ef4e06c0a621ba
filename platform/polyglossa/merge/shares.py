"""Deal the sources that models are validated on to tasks, and take their scores together. No torch."""

from collections.abc import Iterable, Mapping

import numpy as np

from polyglossa.data.pack_index import read_pack_index
from polyglossa.errors import DataError


def validation_sources(pack_uri: str) -> dict[str, int]:
    """Name the sources that models are scored on, with their bundles of validation rows.

    Raises:
        DataError: the pack holds no validation row of a retrieval or bitext source.
    """
    sources = {
        source.name: sum(file.bundles for file in source.validation_files)
        for source in read_pack_index(pack_uri).sources
        if source.in_batch
    }
    there = {name: bundles for name, bundles in sources.items() if bundles}
    if not there:
        raise DataError(f"{pack_uri}: has no validation row to judge by. Set corpus.validation_share above 0.")
    return there


def deal_sources(sources: Mapping[str, int], shares: int) -> list[list[str]]:
    """Deal sources into at most so many shares of about equal size, the largest source first."""
    dealt: list[list[str]] = [[] for _ in range(max(1, min(shares, len(sources))))]
    filled = [0] * len(dealt)
    for name in sorted(sources, key=lambda name: (-sources[name], name)):
        least = filled.index(min(filled))
        dealt[least].append(name)
        filled[least] += sources[name]
    return dealt


def mean_score(shares: Iterable[Mapping[str, float]], sources: Iterable[str]) -> float:
    """Mean over sources, in the order of the pack: equal however they were dealt."""
    scores = {name: score for share in shares for name, score in share.items()}
    return float(np.mean([scores[name] for name in sources]))
