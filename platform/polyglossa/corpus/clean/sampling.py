"""Sample the queries of a source by caps, shares and a temperature over languages; by hash, not by chance.

A query stays when its hash is at most its language's threshold, so all rows of a query stay or go together and every
worker decides alike.
"""

from collections.abc import Mapping

import numpy as np

from polyglossa.recipe.sections.corpus import SamplingConfig


def quotas(counts: Mapping[str, int], cap: int | None, sampling: SamplingConfig) -> dict[str, int]:
    """Share a source's room among its languages.

    With room for n queries, language l of share p gets min(its queries, s·p^(1/temperature)), s chosen so that the
    room is used up (water-filling); the rest of a division goes to the largest remainders.

    Args:
        counts: queries by language.
        cap: most queries of the source; None for no cap.
        sampling: share to keep, and temperature.
    """
    available = sum(counts.values())
    room = min(available, cap if cap is not None else available, round(available * sampling.keep_share))
    names = sorted(counts)
    sizes = np.array([counts[name] for name in names], np.float64)
    weights = (sizes / max(available, 1)) ** (1 / sampling.temperature)
    got = np.zeros(len(names))
    while len(names) and room - got.sum() > 1e-9 * max(room, 1):
        free = got < sizes
        got[free] += (room - got.sum()) * weights[free] / weights[free].sum()
        got = np.minimum(got, sizes)
    whole = np.floor(got + 1e-9).astype(int)
    remainders = sorted(range(len(names)), key=lambda place: (whole[place] - got[place], names[place]))
    for place in remainders[: room - int(whole.sum())]:
        whole[place] += 1
    return {name: int(count) for name, count in zip(names, whole, strict=True)}


def threshold(hashes: np.ndarray, quota: int) -> int:
    """Return the largest hash that stays when `quota` of the distinct hashes do; -1 when none does."""
    if quota <= 0:
        return -1
    if quota >= len(hashes):
        return 2**64 - 1
    return int(np.partition(hashes, quota - 1)[quota - 1])
