"""From what was written to pairs with their provenance, and to rejects: what was asked = pairs + rejects. Pure."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from polyglossa.endpoint.chat import first_line
from polyglossa.errors import DataError, PolyglossaError
from polyglossa.readers.rows import Bad
from polyglossa.recipe.sections.outside.synthetic import TranslatedPairs, WrittenQuestions
from polyglossa.recipe.sections.sources import SyntheticSource
from polyglossa.records import REJECT
from polyglossa.synthesize.select import Chosen
from polyglossa.synthesize.steps import Assignment, Written

PAIR_ROW = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("positive", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),  # name of the row that it is written from, by its texts
        pa.field("origin_language", pa.string(), nullable=False),
        pa.field("made", pa.string(), nullable=False),  # `questions` or `translations`
        pa.field("writer", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),  # hash of the template that the recipe gives
        pa.field("likeness", pa.float32()),  # of the less alike side and its back-translation; null: not asked
    ]
)
"""A written pair, with where it comes from."""

_STAGE = "synthesize"
_CUT = 400  # characters of a text in a reject


def gather(
    source: SyntheticSource, rows: Sequence[Chosen], written: Mapping[Assignment, Written]
) -> tuple[pa.Table, pa.Table, Counter[str]]:
    """Gather what was written.

    Args:
        source: what was asked for.
        rows: what it was written from.
        written: what came of every assignment.

    Returns:
        Pairs (`PAIR_ROW`), rejects, and rejects by reason: each of a row in a language is a pair, or one reject.

    Raises:
        PolyglossaError: something that was asked for is unaccounted for.
        DataError: more of it gave no pair than the recipe allows.
    """
    prompt = hashlib.blake2b(source.make.prompt.encode(), digest_size=8).hexdigest()
    about = {"made": source.make.kind, "writer": source.writer.model, "prompt": prompt}
    pairs, rejects = list[dict[str, Any]](), list[tuple[str, str]]()
    asked = gave = 0
    for row in rows:
        for language, outcome in _outcomes(source, row, written):
            asked += 1
            if isinstance(outcome, str):
                shown = [text[:_CUT] for text in row.texts]
                rejects.append((outcome, json.dumps({"language": language, "texts": shown}, ensure_ascii=False)))
                continue
            gave += 1
            own = {"language": language, "origin": row.origin, "origin_language": row.language, **about}
            pairs += [own | made for made in outcome]
    reasons = Counter(reason for reason, _ in rejects)
    if asked != gave + reasons.total():
        raise PolyglossaError(f"synthesize: {asked} asked for, but {gave} written and {reasons.total()} rejected.")
    if reasons.total() > source.max_dropped_share * asked:
        told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
        raise DataError(
            f"corpus source {source.name!r}: {reasons.total():,} of {asked:,} that were asked for gave no pair "
            f"({told}); at most a share of {source.max_dropped_share} may. Change its prompts, or raise "
            "`max_dropped_share`."
        )
    return pa.Table.from_pylist(pairs, schema=PAIR_ROW), reject_table(source.name, rejects), reasons


def _outcomes(
    source: SyntheticSource, row: Chosen, written: Mapping[Assignment, Written]
) -> Iterator[tuple[str, list[dict[str, Any]] | str]]:
    """Yield, for each language that a row is written in, its pairs or why there is none."""
    make = source.make
    if isinstance(make, WrittenQuestions):
        yield row.language, _questions(make, row, written[Assignment(row.texts[0], row.language)])
        return
    for language in make.into:
        yield language, _translation(make, [written[Assignment(text, language)] for text in row.texts])


def _questions(make: WrittenQuestions, row: Chosen, written: Written) -> list[dict[str, Any]] | str:
    if written.reason is not None:
        return written.reason
    passage = row.texts[0]
    lines = dict.fromkeys(first_line(line) for line in written.answers[0].splitlines())
    asked = [line for line in lines if line and line not in passage][: make.per_passage]
    return [{"query": line, "positive": passage} for line in asked] or "copied"


def _translation(make: TranslatedPairs, sides: Sequence[Written]) -> list[dict[str, Any]] | str:
    reason = next((side.reason for side in sides if side.reason is not None), None)
    if reason is not None:
        return reason
    if all(_alike(side.answers[0], side.assignment.text) for side in sides):
        return "copied"
    query, positive = (side.answers[0].strip() for side in sides)
    alike = [side.likeness for side in sides if side.likeness is not None]
    return [{"query": query, "positive": positive, "likeness": min(alike) if alike else None}]


def _alike(one: str, other: str) -> bool:
    return one.split() == other.split()


def unreadable_rejects(bad: Sequence[Bad]) -> list[tuple[str, str]]:
    """Show rows that could not be read."""
    return [(one.reason, one.row[:_CUT]) for one in bad]


def reject_table(name: str, rejects: Sequence[tuple[str, str]]) -> pa.Table:
    """Describe what gave no pair."""
    rows = [{"source": name, "stage": _STAGE, "reason": reason, "row": row} for reason, row in rejects]
    return pa.Table.from_pylist(rows, schema=REJECT)
