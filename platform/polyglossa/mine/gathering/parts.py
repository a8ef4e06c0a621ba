"""Part the sources of a run: those of a part are in memory together. Pure; a plan counts with it."""

from collections.abc import Mapping

PART_ROWS = 500_000
"""Mined rows up to which sources are mined together."""


def parts_of(mined: Mapping[int, int]) -> list[list[int]]:
    """Put sources together until a part has `PART_ROWS` mined rows.

    Args:
        mined: rows that are mined, by source.
    """
    parts: list[list[int]] = []
    held = 0
    for source, count in mined.items():
        if not parts or held + count > PART_ROWS:
            parts.append([])
            held = 0
        parts[-1].append(source)
        held += count
    return parts


def largest_share(rows: float, mined: Mapping[str, int]) -> float:
    """Share of the mined rows that the largest part holds.

    Args:
        rows: that are mined in all.
        mined: those of single sources, as far as they are known; the rest may be one source.
    """
    known = dict(mined) | {"": max(0, round(rows) - sum(mined.values()))}
    parts = parts_of(dict(enumerate(known.values())))
    most = max(sum(list(known.values())[source] for source in part) for part in parts)
    return min(1.0, most / max(1.0, rows))
