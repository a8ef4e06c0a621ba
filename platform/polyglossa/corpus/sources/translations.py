"""Pair translations of one thing: every text with the pivot's, then with others drawn by hash.

Used for CLDR's names and for bitext tables alike. Which side asks is drawn by hash too, so both directions occur.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import xxhash

from polyglossa.corpus.sources.candidates import candidate_table


class Translation(NamedTuple):
    """One thing's text in one language."""

    thing: str
    """What is translated: a concept, a sentence's index."""
    language: str
    script: str | None
    text: str


def pairs_of(
    members: Sequence[Translation], pivot: str | None, partners: int, seed: int
) -> Iterator[tuple[Translation, Translation]]:
    """Yield (query, positive) for the translations of one thing.

    Args:
        members: its translations, in an order that does not depend on where they were read from.
        pivot: language that every text is paired with; its own texts are only ever partners.
        partners: partners of each text, the pivot's included.
        seed: salt of the draws.
    """
    pivots = [member for member in members if member.language == pivot]
    others = [member for member in members if member.language != pivot]
    for place, member in enumerate(others):
        for partner in pivots[:partners] + _draw_members(place, others, partners - len(pivots), seed):
            asks = draw(seed, member.thing, member.language, partner.language) & 1
            yield (member, partner) if asks else (partner, member)


def _draw_members(place: int, members: Sequence[Translation], count: int, seed: int) -> list[Translation]:
    """Take `count` other members from a place drawn by hash, wrapping around."""
    count = min(count, len(members) - 1)
    if count <= 0:
        return []
    start = draw(seed, "partner", members[place].thing, members[place].language) % (len(members) - 1)
    return [members[(place + 1 + (start + step) % (len(members) - 1)) % len(members)] for step in range(count)]


def draw(seed: int, *parts: str) -> int:
    """Draw a 64-bit number that depends on its arguments alone."""
    return xxhash.xxh3_64_intdigest("\x1f".join(parts).encode(), seed=seed)


def translation_table(
    pairs: Sequence[tuple[Translation, Translation]], splits: Sequence[str | None] | None, source: str
) -> pa.Table:
    """Write pairs as candidates of task `bitext`, grouped by thing."""
    return candidate_table(
        {
            "query": [query.text for query, _ in pairs],
            "query_language": [query.language for query, _ in pairs],
            "query_script": [query.script for query, _ in pairs],
            "positives": [[positive.text] for _, positive in pairs],
            "positive_language": [positive.language for _, positive in pairs],
            "positive_script": [positive.script for _, positive in pairs],
            "group": [query.thing for query, _ in pairs],
            "split": splits or [None] * len(pairs),
        },
        task="bitext",
        source=source,
    )
